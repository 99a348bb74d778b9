package engine_test

import (
	"bytes"
	"errors"
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

// quick makes a small test meet everything that a large database does: sweeps
// that begin and end, parts that are split and joined.
var quick = engine.Pace{Log: 4000, Names: 6, Part: 12}

func open(t testing.TB, log engine.Log) *engine.Store {
	t.Helper()
	s, err := engine.Open(log, quick)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inspect(t testing.TB, s *engine.Store) engine.Inside {
	t.Helper()
	in, err := s.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// killed is a Store that is not closed, but killed: what follows goes on with the
// log as it was before.
type killed struct {
	*engine.Store
	kill func()
}

func (s killed) Close() error {
	s.kill()
	return s.Store.Close()
}

// The suite at the usual pace is run by the backends.
func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) func() storage.Store {
		log := storetest.NewMemoryLog()
		return func() storage.Store {
			log = log.Again()
			return killed{open(t, log), func() { log = log.Copy() }}
		}
	})
}

// TestRandomTrouble lets Appends fail at random, in every way, kills the store after
// each Update, and sees to it that each has done what its error says.
func TestRandomTrouble(t *testing.T) {
	seed := testenv.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	log := storetest.NewMemoryLog()
	s := open(t, log)
	walk, model := storetest.NewWalk(seed, 60), storetest.NewModel(storetest.Sabotage{})
	met := map[storetest.Fault]int{}
	fault, waiting := storetest.None, false // for the first Update that gets so far
	var most engine.Inside
	for i := range 250 {
		step := walk.Next()
		if r.IntN(12) == 0 {
			log.SetDown(true)
			if _, err := step.Carry(s); !errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain) {
				t.Fatalf("step %d, while the log is down: %v", i, err)
			}
			log.SetDown(false)
			continue
		}
		if !waiting && r.IntN(3) == 0 {
			fault, waiting = []storetest.Fault{storetest.Refused, storetest.Lost, storetest.Kept, storetest.Conflict}[r.IntN(4)], true
			log.Fail(fault)
			model.Fail(fault)
		}
		got, gerr := step.Carry(s)
		want, werr := step.Carry(model)
		if !slices.Equal(got, want) || (gerr == nil) != (werr == nil) {
			t.Fatalf("step %d:\n got %q, %v\nwant %q, %v", i, got, gerr, want, werr)
		}
		for _, kind := range []error{foyer.ErrUnavailable, storage.ErrUncertain} {
			if errors.Is(gerr, kind) != errors.Is(werr, kind) {
				t.Fatalf("step %d: %v, want %v", i, gerr, werr)
			}
		}
		if errors.Is(werr, foyer.ErrUnavailable) || errors.Is(werr, storage.ErrUncertain) {
			met[fault]++
			fault, waiting = storetest.None, false
		}
		in := inspect(t, s)
		if !in.InDoubt {
			if err := walk.Compare(s, model); err != nil {
				t.Fatalf("after step %d: %v", i, err)
			}
		} else if !errors.Is(gerr, storage.ErrUncertain) {
			t.Fatalf("step %d is in doubt, and said %v", i, gerr)
		}
		most.Parts, most.Snapshot, most.Outcomes = max(most.Parts, in.Parts), max(most.Snapshot, in.Snapshot), max(most.Outcomes, in.Outcomes)

		left := log.Copy()
		again := open(t, left)
		if err := walk.Compare(again, model); err != nil {
			t.Fatalf("killed after step %d: %v", i, err)
		}
		inspect(t, again)
		if r.IntN(5) == 0 {
			if log, s = left, again; waiting {
				log.Fail(fault)
			}
		}
	}
	t.Logf("faults %v, at most %+v, the log begins at %d", met, most, log.Head())
	for _, fault := range []storetest.Fault{storetest.Refused, storetest.Lost, storetest.Kept, storetest.Conflict} {
		if met[fault] < 5 {
			t.Errorf("the fault %q was met %d times", fault, met[fault])
		}
	}
	if most.Parts < 5 || most.Snapshot == 0 || most.Outcomes == 0 || log.Head() == 0 {
		t.Error("that is too little")
	}
}

var epoch = time.UnixMilli(1e12).UTC()

// register registers a name some time after the last Update, with an outcome.
func register(s storage.Store, name foyer.Name, later time.Duration) error {
	now := s.Last()
	if now.Wall.Before(epoch) {
		now.Wall = epoch
	}
	now.Wall, now.Lease = now.Wall.Add(later), now.Lease+later
	return s.Update(now, func(tx storage.Tx) error {
		if err := tx.Record(storage.Outcome{ID: idOf(name), Reply: []byte("OK " + name)}); err != nil {
			return err
		}
		r := foyer.Registration{Name: name, Address: foyer.Address("room://" + name + ":1"), RegisteredAt: now.Wall}
		return tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: r})
	})
}

func idOf(name foyer.Name) (id foyer.ID) {
	copy(id[:], name)
	return id
}

func want(t *testing.T, s storage.Store, name foyer.Name, there bool) {
	t.Helper()
	if _, err := s.Find([]byte(name)); (err == nil) != there {
		t.Errorf("Find(%q): %v", name, err)
	}
	if h, err := s.History(name); err != nil || (len(h) > 0) != there {
		t.Errorf("History(%q): %v, %v", name, h, err)
	}
}

// TestUncertainty: what is in doubt is not seen until it is settled, but may be
// recorded; and it is settled before anything else happens.
func TestUncertainty(t *testing.T) {
	for fault, happens := range map[storetest.Fault]bool{storetest.Lost: false, storetest.Kept: true} {
		t.Run(fault.String(), func(t *testing.T) {
			log := storetest.NewMemoryLog()
			s := open(t, log)
			if err := register(s, "before", time.Second); err != nil {
				t.Fatal(err)
			}
			log.Fail(fault)
			if err := register(s, "during", time.Second); !errors.Is(err, storage.ErrUncertain) {
				t.Fatalf("%v, want storage.ErrUncertain", err)
			}
			log.SetDown(true)
			for range 2 {
				last := s.Last()
				if err := register(s, "after", time.Second); !errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain) {
					t.Errorf("%v, want foyer.ErrUnavailable", err)
				}
				want(t, s, "before", true)
				want(t, s, "during", false)
				want(t, s, "after", false)
				if s.Len() != 1 || s.Last() != last {
					t.Errorf("Len() = %d, Last() = %v", s.Len(), s.Last())
				}
				if !s.Recorded(idOf("before")) || !s.Recorded(idOf("during")) || s.Recorded(idOf("after")) {
					t.Errorf("recorded are %v, %v and %v", s.Recorded(idOf("before")), s.Recorded(idOf("during")), s.Recorded(idOf("after")))
				}
			}
			log.SetDown(false)
			if err := register(s, "after", time.Second); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*engine.Store{s, open(t, log.Copy())} {
				want(t, s, "before", true)
				want(t, s, "during", happens)
				want(t, s, "after", true)
				if s.Recorded(idOf("during")) != happens {
					t.Errorf("recorded: %v, want %v", !happens, happens)
				}
				inspect(t, s)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClosedInDoubt: what is in doubt when the store is closed is what the log says.
func TestClosedInDoubt(t *testing.T) {
	for fault, happens := range map[storetest.Fault]bool{storetest.Lost: false, storetest.Kept: true} {
		log := storetest.NewMemoryLog()
		s := open(t, log)
		log.Fail(fault)
		if err := register(s, "during", time.Second); !errors.Is(err, storage.ErrUncertain) {
			t.Fatalf("%v, want storage.ErrUncertain", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := register(s, "after", time.Second); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("an Update after Close: %v", err)
		}
		s = open(t, log.Again())
		want(t, s, "during", happens)
		inspect(t, s)
	}
}

// TestAnotherProcess lets another store append to the log, before an Update and
// within one. This store has nothing to say any more, and says so.
func TestAnotherProcess(t *testing.T) {
	for _, within := range []bool{false, true} {
		log := storetest.NewMemoryLog()
		s := open(t, log)
		if err := register(s, "before", time.Second); err != nil {
			t.Fatal(err)
		}
		other := open(t, log.Again())
		err := error(nil)
		if !within {
			err = register(other, "theirs", time.Second)
		}
		if err := errors.Join(err, s.Update(s.Last(), func(tx storage.Tx) error {
			if within {
				err = register(other, "theirs", time.Second)
			} else {
				t.Error("the function is run on a state that is not the latest")
			}
			return errors.Join(err, tx.Apply(storage.Event{Kind: storage.Registered, Registration: foyer.Registration{Name: "ours", Address: "ours"}}))
		})); !errors.Is(err, engine.ErrConflict) || !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("%v, want engine.ErrConflict", err)
		}
		for range 2 {
			if err := register(s, "ours", time.Second); !errors.Is(err, engine.ErrConflict) {
				t.Errorf("%v, want engine.ErrConflict", err)
			}
			want(t, s, "ours", false)
		}
		s.Close()
		if err := register(other, "more", time.Second); err != nil {
			t.Error(err)
		}
		s = open(t, log.Again())
		want(t, s, "theirs", true)
		want(t, s, "more", true)
		want(t, s, "ours", false)
	}
}

// recording keeps the groups that were appended, and lets go of none of the log.
type recording struct {
	*storetest.MemoryLog
	groups [][]byte
}

func (l *recording) Append(b *engine.Batch) error {
	c := *b
	c.Needed = 0
	l.groups = append(l.groups, bytes.Clone(b.Group))
	return l.MemoryLog.Append(&c)
}

func (l *recording) last() []byte { return l.groups[len(l.groups)-1] }
