package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/engine"
	"foyer/storage/storetest"
)

// churned returns the registration of a name after its nth change, of which all
// parts follow from n.
func churned(name string, number, n int) foyer.Registration {
	r := foyer.Registration{
		Name: foyer.Name(name), Address: foyer.Address(fmt.Sprintf("room://h%d-%d:1", number, n)),
		RegisteredAt: time.UnixMilli(int64(n)).UTC(), TTL: time.Duration(n) * time.Second, LeaseEnd: time.Duration(n),
	}
	for i := 0; i < len(r.Owner); i += 8 {
		r.Owner[i] = byte(n) | 1
	}
	return r
}

// Updates that come to nothing leave nothing in memory, whether their function fails,
// or the log, or nobody knows for a while and then they have not happened.
func TestFailuresBoundMemory(t *testing.T) {
	log := storetest.NewMemoryLog()
	s, err := engine.Open(log, engine.Pace{})
	if err != nil {
		t.Fatal(err)
	}
	register := func(from, to int, result error) error {
		return s.Update(storage.Instant{}, func(tx storage.Tx) error {
			for i := from; i < to; i++ {
				name := fmt.Sprint(strings.Repeat("x", 200), i)
				if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: churned(name, i, i+1)}); err != nil {
					return err
				}
			}
			return result
		})
	}
	if err := register(0, 10, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // a mebibyte each
		var result error
		switch i % 3 {
		case 0:
			result = errGivenUp
		case 1:
			log.Fail(storetest.Refused)
		default:
			log.Fail(storetest.Lost)
		}
		if err := register(10, 4000, result); err == nil {
			t.Fatal("nothing has failed")
		}
		if in := inspect(t, s); in.Chunks > 5 {
			t.Fatalf("after %d failures there are %d chunks for %d bytes", i+1, in.Chunks, in.Live)
		}
	}
	if err := register(10, 4000, nil); err != nil {
		t.Error(err)
	}
	inspect(t, s)
}

// TestCompactBoundsMemory changes names over and over again, in steps of many
// sizes, some of which are given up.
func TestCompactBoundsMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	s, err := engine.Open(storetest.NewMemoryLog(), engine.Pace{Log: 1 << 16, Names: 64, Part: 64})
	if err != nil {
		t.Fatal(err)
	}
	const names, changes = 1000, 40_000
	now := make([]int, names) // 0 if it is not registered
	most, mostLive, written := 0, 0, 0
	for n := 1; n < changes; {
		at, step, given := r.IntN(names), 1+r.IntN(500), r.IntN(8) == 0
		after := map[int]int{}
		err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
			for i := range step {
				i := (at + i*7) % names
				name := fmt.Sprint(strings.Repeat("x", 200), i)
				n++
				e := storage.Event{Kind: storage.Replaced, Registration: churned(name, i, n)}
				before, seen := after[i]
				if !seen {
					before = now[i]
				}
				after[i] = n
				switch {
				case before == 0:
					e.Kind = storage.Registered
				case r.IntN(3) == 0:
					e = storage.Event{Kind: storage.Evicted, Registration: churned(name, i, before)}
					after[i] = 0
				}
				if err := tx.Apply(e); err != nil {
					return err
				}
				written += 300
			}
			if given {
				return errGivenUp
			}
			return nil
		})
		if err != nil && !given {
			t.Fatal(err)
		}
		if !given {
			for i, n := range after {
				now[i] = n
			}
		}
		if r.IntN(8) == 0 {
			in := inspect(t, s)
			most, mostLive = max(most, in.Chunks), max(mostLive, in.Live)
		}
	}
	// What is not in use is at most as much as what is, and what one sweep writes;
	// an Update of 500 changes writes half a mebibyte.
	limit := 2*mostLive/engine.ChunkSize + 4
	t.Logf("%d chunks at most, for %d bytes in use; %d were written", most, mostLive, written)
	if most > limit || written < limit*engine.ChunkSize {
		t.Errorf("there were %d chunks, want no more than %d; %d bytes were written", most, limit, written)
	}
	for i, n := range now {
		name := fmt.Sprint(strings.Repeat("x", 200), i)
		got, err := s.Find([]byte(name))
		if (err == nil) != (n > 0) || n > 0 && got != churned(name, i, n) {
			t.Fatalf("%q is %+v, %v; want change %d", name, got, err, n)
		}
	}
}

var errGivenUp = fmt.Errorf("given up")

// TestCompactReaders looks names up while the chunks that they are in are
// emptied and dropped: names that never change must always be there, and the
// others be whole and no older than they were before.
func TestCompactReaders(t *testing.T) {
	s, err := engine.Open(storetest.NewMemoryLog(), engine.Pace{Log: 1 << 16, Names: 64, Part: 64})
	if err != nil {
		t.Fatal(err)
	}
	const names, moving, group = 2000, 1500, 500
	all := make([]string, names)
	for i := range all {
		all[i] = fmt.Sprint(strings.Repeat("x", foyer.MaxName-5), i)
	}
	var begun, finished atomic.Int64 // rounds
	update := func(kind storage.Kind, round int) {
		for from := 0; from < names; from += group {
			err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
				for i := from; i < from+group; i++ {
					if round > 1 && i >= moving {
						break
					}
					r := churned(all[i], i, round)
					if err := tx.Apply(storage.Event{Kind: kind, Time: r.RegisteredAt, Registration: r}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	update(storage.Registered, 1)
	begun.Store(1)
	finished.Store(1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	check := func(i int, r *foyer.Registration, err error, earliest, latest int64) bool {
		if err != nil {
			t.Errorf("%q: %v", all[i], err)
			return false
		}
		if i >= moving {
			earliest, latest = 1, 1
		}
		n := int64(r.LeaseEnd)
		if n < earliest || n > latest || *r != churned(all[i], i, int(n)) {
			t.Errorf("between rounds %d and %d it is %+v", earliest, latest, *r)
			return false
		}
		return true
	}
	for _, together := range []int{1, 16, 33} {
		readers.Go(func() {
			queries := make([]storage.Query, together)
			for from := 0; ; from = (from + together) % names {
				select {
				case <-done:
					return
				default:
				}
				for i := range queries {
					queries[i].Name = []byte(all[(from+i*7)%names])
				}
				earliest := finished.Load()
				s.FindAll(queries)
				latest := begun.Load()
				for i := range queries {
					q := &queries[i]
					if !check((from+i*7)%names, &q.Registration, q.Err, earliest, latest) {
						return
					}
				}
			}
		})
	}
	kept, err := s.Find([]byte(all[0]))
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	const rounds = 8
	for round := 2; round < 2+rounds; round++ {
		begun.Store(int64(round))
		update(storage.Replaced, round)
		finished.Store(int64(round))
		most = max(most, inspect(t, s).Chunks)
	}
	close(done)
	readers.Wait()
	if kept != churned(all[0], 0, 1) {
		t.Errorf("a registration that was kept has become %+v", kept)
	}
	in := inspect(t, s)
	t.Logf("%d chunks, %d at most, for %d bytes in use", in.Chunks, most, in.Live)
	if limit := 2*in.Live/engine.ChunkSize + 2; most > limit {
		t.Errorf("there were %d chunks, want no more than %d", most, limit)
	}
}

// TestPartsAreJoined holds names, which splits parts, and lets go of them, which
// joins parts: of a name without a history nothing is left. After each Update the
// store is killed.
func TestPartsAreJoined(t *testing.T) {
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	log := storetest.NewMemoryLog()
	s := open(t, log)
	held := map[foyer.Name]storage.Hold{}
	mostParts, joined, mostPieces, gone := 0, 0, 0, 0
	now := storage.Instant{Wall: epoch}
	parts, pieces := 1, 0
	for i := range 300 {
		now.Wall = now.Wall.Add(time.Second)
		growing := i%100 < 30
		err := s.Update(now, func(tx storage.Tx) error {
			for j := range 20 {
				name := foyer.Name(fmt.Sprintf("room %x", r.IntN(150)))
				if j < 6 {
					name = foyer.Name(fmt.Sprintf("always %d", j)) // which keeps the sweep going
				}
				h := storage.Hold{Name: name}
				if growing || j < 6 || r.IntN(40) == 0 {
					h.Since, h.Until = now.Wall, now.Wall.Add(time.Minute)
				}
				if err := tx.Hold(h); err != nil {
					return err
				}
				if held[name] = h; h.Until.IsZero() {
					delete(held, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		left := log.Copy()
		again := open(t, left)
		for _, s := range []*engine.Store{s, again} {
			list, err := s.Holds()
			if err != nil || len(list) != len(held) {
				t.Fatalf("after step %d: %d holds, %v; want %d", i, len(list), err, len(held))
			}
			for _, h := range list {
				if held[h.Name] != h {
					t.Fatalf("after step %d: %+v, want %+v", i, h, held[h.Name])
				}
			}
		}
		in := inspect(t, s)
		inspect(t, again)
		mostParts, mostPieces = max(mostParts, in.Parts), max(mostPieces, len(left.Pieces()))
		joined, gone = joined+max(0, parts-in.Parts), gone+max(0, pieces-len(left.Pieces()))
		parts, pieces = in.Parts, len(left.Pieces())
		if r.IntN(4) == 0 {
			log, s = left, again
			parts = inspect(t, s).Parts
		}
	}
	t.Logf("%d parts and %d pieces at most, %d parts joined, %d pieces gone", mostParts, mostPieces, joined, gone)
	if mostParts < 10 || mostPieces < 10 || joined < 10 || gone < 10 {
		t.Error("that is too little")
	}
}

// TestSparseChunks lets go of most of what lies in many chunks, but of something in
// each. The rest moves together.
func TestSparseChunks(t *testing.T) {
	s, err := engine.Open(storetest.NewMemoryLog(), engine.Pace{Log: 1 << 14, Names: 64, Part: 64})
	if err != nil {
		t.Fatal(err)
	}
	const names = 20_000
	nameOf := func(i int) foyer.Name { return foyer.Name(fmt.Sprint(strings.Repeat("x", 200), i)) }
	hold := func(until time.Time, step int) {
		t.Helper()
		err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
			for i := range names {
				if step > 0 && i%step == 0 {
					continue
				}
				if err := tx.Hold(storage.Hold{Name: nameOf(i), Since: until, Until: until}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	hold(epoch, 0)
	before := inspect(t, s)
	hold(time.Time{}, 100)
	for i := range 200 {
		if err := register(s, foyer.Name(fmt.Sprint(i)), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	after := inspect(t, s)
	if before.Chunks < 5 || after.Chunks > 2 || after.Names != names/100+200 {
		t.Errorf("there were %d chunks, and are %d with %d names", before.Chunks, after.Chunks, after.Names)
	}
	if list, err := s.Holds(); err != nil || len(list) != names/100 {
		t.Errorf("%d holds, %v; want %d", len(list), err, names/100)
	}
}

// TestSweepCatchesUp: a store that is killed again and again before a sweep is over
// sweeps faster, so that the log does not grow without end.
func TestSweepCatchesUp(t *testing.T) {
	log := storetest.NewMemoryLog()
	s := open(t, log)
	for i := range 200 {
		if err := register(s, foyer.Name(fmt.Sprintf("room %d", i)), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	in := inspect(t, s)
	most := uint64(0)
	for i := range 600 {
		name := foyer.Name(fmt.Sprintf("room %d", i%200))
		err := s.Update(storage.Instant{Wall: epoch, Lease: s.Last().Lease + time.Minute}, func(tx storage.Tx) error {
			r, err := tx.Get(name)
			if err != nil {
				return err
			}
			r.RegisteredAt = r.RegisteredAt.Add(time.Second)
			return tx.Apply(storage.Event{Kind: storage.Extended, Registration: r})
		})
		if err != nil {
			t.Fatal(err)
		}
		if i%60 == 59 {
			log = log.Copy()
			s = open(t, log)
		}
		if in := inspect(t, s); in.Outcomes > 0 {
			most = max(most, in.End-in.Snapshot)
		}
	}
	after := inspect(t, s)
	if limit := 6 * uint64(after.Live); most > limit || after.Snapshot <= in.End || log.Head() == 0 {
		t.Errorf("%d bytes of log are read on opening, want %d at most; the snapshot is at %d of %d, the log begins at %d",
			most, limit, after.Snapshot, after.End, log.Head())
	}
}

// TestCloseCompletesTheSnapshot: after Close nothing is left to be replayed.
func TestCloseCompletesTheSnapshot(t *testing.T) {
	log := storetest.NewMemoryLog()
	s := open(t, log)
	for i := range 100 {
		if err := register(s, foyer.Name(fmt.Sprintf("room %d", i)), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	before := inspect(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, log.Again())
	in := inspect(t, s)
	if before.Snapshot >= before.End/2+before.End/4 || in.Snapshot < before.End || in.Names != 100 {
		t.Errorf("the snapshot was at %d of %d, and is at %d of %d with %d names", before.Snapshot, before.End, in.Snapshot, in.End, in.Names)
	}
	for i := range 100 {
		want(t, s, foyer.Name(fmt.Sprintf("room %d", i)), true)
	}
	// What failed while it was closed has done no harm.
	for _, fault := range []storetest.Fault{storetest.Refused, storetest.Lost, storetest.Kept, storetest.Conflict} {
		if err := register(s, foyer.Name(fault.String()), time.Second); err != nil {
			t.Fatal(err)
		}
		log.Fail(fault)
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", fault, err)
		}
		s = open(t, log.Again())
		want(t, s, foyer.Name(fault.String()), true)
		if s.Len() != 101 && fault == storetest.Refused {
			t.Errorf("%d names", s.Len())
		}
		inspect(t, s)
	}
	if !bytes.Contains(contentsOf(t, log.Again()).log, []byte("room://")) {
		t.Error("the outcomes are not kept any more")
	}
}
