package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/engine"
	"foyer/storage/storetest"
)

// filled returns the contents of a log with a snapshot that has several pieces, and
// what it was some Updates before.
func filled(t *testing.T, steps, names int, seed uint64) (now, before *contents, walk *storetest.Walk, model *storetest.Model) {
	t.Helper()
	walk, model = storetest.NewWalk(seed, names), storetest.NewModel(storetest.Sabotage{})
	log := storetest.NewMemoryLog()
	s := open(t, log)
	for i := range steps {
		if i == steps*3/4 {
			before = contentsOf(t, log)
		}
		step := walk.Next()
		step.Carry(s)
		step.Carry(model)
	}
	return contentsOf(t, log), before, walk, model
}

// refused makes sure that a log is refused as damaged, and not changed.
func refused(t *testing.T, what string, c *contents) {
	t.Helper()
	log := c.kept(t)
	s, err := engine.Open(log, quick)
	if err == nil {
		_, err = s.Inspect()
		t.Errorf("%s: it was opened, %v", what, err)
		return
	}
	if !errors.Is(err, storage.ErrDamaged) || bytes.Contains([]byte(err.Error()), []byte("\n")) {
		t.Errorf("%s: %v, want one line of storage.ErrDamaged", what, err)
	}
	if after := contentsOf(t, log); !bytes.Equal(after.log, c.log) || !maps.EqualFunc(after.pieces, c.pieces, bytes.Equal) || !bytes.Equal(after.state, c.state) {
		t.Errorf("%s: the log was changed", what)
	}
}

func (c *contents) clone() *contents {
	d := *c
	d.state, d.log, d.pieces = bytes.Clone(c.state), bytes.Clone(c.log), map[string][]byte{}
	for key, value := range c.pieces {
		d.pieces[key] = bytes.Clone(value)
	}
	return &d
}

// TestDamagedPieces: what the disk has lost, changed, or put back from long ago, with
// a checksum of its own that is right, is noticed.
func TestDamagedPieces(t *testing.T) {
	now, before, _, _ := filled(t, 300, 60, testenv.Seed(t))
	keys := slices.Sorted(maps.Keys(now.pieces))
	if len(keys) < 4 {
		t.Fatalf("there are the pieces %q only", keys)
	}
	old, swapped := 0, 0
	for i, key := range keys {
		c := now.clone()
		delete(c.pieces, key)
		refused(t, fmt.Sprintf("the piece %q lost", key), c)
		c = now.clone()
		c.pieces[key][len(c.pieces[key])/2] ^= 4
		refused(t, fmt.Sprintf("the piece %q changed", key), c)
		if then := before.pieces[key]; then != nil && !bytes.Equal(then, now.pieces[key]) {
			old++
			c = now.clone()
			c.pieces[key] = then
			refused(t, fmt.Sprintf("the piece %q as it was", key), c)
		}
		c = now.clone()
		engine.Reseal(key, append(c.pieces[key][:4], c.pieces[key][4:]...))
		c.pieces[key] = c.pieces[key][:4]
		engine.Reseal(key, c.pieces[key])
		if len(now.pieces[key]) > 4 {
			refused(t, fmt.Sprintf("the piece %q emptied", key), c)
		}
		if i > 0 {
			swapped++
			c = now.clone()
			c.pieces[key], c.pieces[keys[i-1]] = c.pieces[keys[i-1]], c.pieces[key]
			refused(t, fmt.Sprintf("the piece %q exchanged with another", key), c)
		}
	}
	if old < 2 || swapped < 2 {
		t.Errorf("%d pieces were old: that is too little", old)
	}
	c := now.clone()
	c.pieces["zzz"] = make([]byte, 4)
	engine.Reseal("zzz", c.pieces["zzz"])
	refused(t, "one piece more", c)
	c = now.clone()
	c.pieces = nil
	refused(t, "all pieces lost", c)
	c = now.clone()
	maps.Copy(c.pieces, before.pieces)
	refused(t, "all pieces as they were", c)
	c = now.clone()
	c.state = before.state
	refused(t, "the state as it was", c)
	c = now.clone()
	c.state = nil
	refused(t, "no state", c)
	c = now.clone()
	c.state = []byte{}
	refused(t, "an empty state", c)
	c = now.clone()
	c.log = c.log[:len(c.log)-1]
	refused(t, "the log cut off", c)
	c = now.clone()
	c.log = append(c.log, 0)
	refused(t, "the log longer", c)
	c = now.clone()
	c.log, c.head = c.log[len(c.log)/2:], c.head+uint64(len(c.log)/2)
	refused(t, "the log's first half lost", c)
}

// TestDamagedLog turns bits anywhere. Each is refused: nothing is kept that has no
// checksum and is needed.
func TestDamagedLog(t *testing.T) {
	seed := testenv.Seed(t)
	r := rand.New(rand.NewPCG(seed, 4))
	for _, names := range []int{4, 60} {
		now, _, walk, model := filled(t, 100, names, seed)
		if err := walk.Compare(open(t, now.kept(t)), model); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			c := now.clone()
			places := [][]byte{c.state, c.log}
			for _, piece := range c.pieces {
				places = append(places, piece)
			}
			at := places[r.IntN(len(places))]
			i := r.IntN(len(at))
			at[i] ^= 1 << r.IntN(8)
			refused(t, fmt.Sprintf("%d names, a bit of byte %d of %d", names, i, len(at)), c)
			switch n := r.IntN(len(c.log)); r.IntN(2) {
			case 0:
				clear(c.log[n:min(n+512, len(c.log))])
			default:
				copy(c.log[n:], c.log[r.IntN(len(c.log)):])
			}
			refused(t, fmt.Sprintf("%d names, the log changed as well", names), c)
		}
	}
}

// TestUnreadableOutcome: an outcome that cannot be read is an error for whoever asks
// for it, and for nobody else.
func TestUnreadableOutcome(t *testing.T) {
	log := storetest.NewMemoryLog()
	s := open(t, log)
	if err := register(s, "room", time.Second); err != nil {
		t.Fatal(err)
	}
	err := s.Update(s.Last(), func(tx storage.Tx) error {
		log.SetDown(true)
		defer log.SetDown(false)
		if _, ok, err := tx.Outcome(idOf("another")); ok || err != nil {
			t.Errorf("another: %v, %v", ok, err)
		}
		if _, ok, err := tx.Outcome(idOf("room")); ok || !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("room: %v, %v", ok, err)
		}
		if err := tx.Record(storage.Outcome{ID: idOf("room")}); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("recorded again: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// Nor are outcomes let go that cannot be read: the Update fails, and the next
	// one tries again.
	now := storage.Instant{Wall: epoch, Lease: time.Hour}
	if err := s.Update(now, func(storage.Tx) error { log.SetDown(true); return nil }); !errors.Is(err, foyer.ErrUnavailable) {
		t.Errorf("while the log is down: %v", err)
	}
	log.SetDown(false)
	if err := s.Update(now, func(tx storage.Tx) error { return nil }); err != nil || s.Recorded(idOf("room")) {
		t.Errorf("%v, recorded: %v", err, s.Recorded(idOf("room")))
	}
	inspect(t, s)
}
