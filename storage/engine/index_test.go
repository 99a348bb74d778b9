package engine

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"testing"

	"foyer"
	"foyer/internal/testenv"
)

func newRand(t *testing.T) *rand.Rand { return rand.New(rand.NewPCG(testenv.Seed(t), 0)) }

func testEntry(a *appender, name, address int) (ref, *entry) {
	r := record{registered: true, registration: foyer.Registration{
		Name: foyer.Name(fmt.Sprint("room ", name)), Address: foyer.Address(fmt.Sprint("room://h:", address)),
	}}
	return a.add(r.append(nil))
}

// all returns the entries of an index, and where they are.
func (x *index) all() map[ref]*entry {
	all := map[ref]*entry{}
	for i := range x.shards {
		t := x.shards[i].Load()
		for j := range t.slots {
			if r := slot(t.slots[j].Load()).ref(); r != 0 {
				all[r] = x.arena.entry(r)
			}
		}
	}
	return all
}

func TestIndex(t *testing.T) {
	r := newRand(t)
	for _, names := range []int{20, 30_000} {
		a := &appender{arena: newArena()}
		var x index
		x.init(a.arena, false, 0)
		want := map[string]*entry{}
		at := map[string]ref{}
		for range 60_000 {
			place, e := testEntry(a, r.IntN(names), r.IntN(names))
			switch r.IntN(3) {
			case 0:
				x.remove(e) // another one of the name is in its place, or none
				if got, _ := x.get(e.name()); got != at[e.name()] {
					t.Fatalf("get(%q) = %x, want %x", e.name(), got, at[e.name()])
				}
				if old := want[e.name()]; old != nil {
					x.remove(old)
				}
				delete(want, e.name())
				delete(at, e.name())
			case 1:
				x.put(place, e)
				want[e.name()], at[e.name()] = e, place
			default:
				if got := x.find(e.name()); got != want[e.name()] {
					t.Fatalf("find(%q) = %p, want %p", e.name(), got, want[e.name()])
				}
			}
		}
		all := x.all()
		for place, e := range all {
			if want[e.name()] != e || at[e.name()] != place {
				t.Errorf("%q is in the index, and should be %p", e.name(), want[e.name()])
			}
		}
		if len(all) != len(want) || entries(&x) != len(want) {
			t.Errorf("%d entries, %d by the counts; want %d", len(all), entries(&x), len(want))
		}
	}
}

// TestShardsGrow: a shard is at most three quarters full, and has no more than
// four slots for each entry.
func TestShardsGrow(t *testing.T) {
	for _, names := range []int{0, 1, 7, 20_000} {
		a := &appender{arena: newArena()}
		var x index
		x.init(a.arena, false, 0)
		for i := range names {
			x.put(testEntry(a, i, i))
		}
		for i := range x.shards {
			if s := x.shards[i].Load(); s.used*4 > len(s.slots)*3 || len(s.slots) > max(shardMin, 4*(s.live+1)) {
				t.Fatalf("a shard has %d slots for %d entries", len(s.slots), s.live)
			}
		}
	}
}

// TestFindAll looks up names some of which are in the way of others: a name that
// has the same hash stands before them.
func TestFindAll(t *testing.T) {
	a := &appender{arena: newArena()}
	var x index
	x.init(a.arena, false, 0)
	const names = sideBySide - 1
	for i := range names {
		at, e := testEntry(a, i, i)
		if i%5 == 1 {
			h := x.hash(e.name())
			other, _ := testEntry(a, names+i, names+i)
			x.shard(h).Load().at(h).Store(uint64(newSlot(h, other)))
		}
		if i%3 == 1 {
			x.put(at, e)
		}
	}
	keys := make([]string, sideBySide)
	for n := range len(keys) + 1 {
		for i := range keys[:n] {
			keys[i] = fmt.Sprint("room ", i*n%names)
		}
		var found [sideBySide]*entry
		x.findAll(keys[:n], found[:n])
		for i, key := range keys[:n] {
			if want := x.find(key); found[i] != want || (want != nil) != (i*n%names%3 == 1) {
				t.Errorf("%d keys: %q has %p, want %p", n, key, found[i], want)
			}
		}
	}
}

// TestIndexReaders changes some names to and fro while others, which are always
// there or never, are looked up.
func TestIndexReaders(t *testing.T) {
	a := &appender{arena: newArena()}
	var x index
	x.init(a.arena, true, 0)
	const names = 3000
	fixed := make([]*entry, names)
	for i := range fixed {
		at, e := testEntry(a, i, i)
		x.put(at, e)
		fixed[i] = e
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				e := fixed[i%names]
				if x.find(e.address()) != e {
					t.Errorf("%q is not found", e.address())
					return
				}
				if x.find("nowhere") != nil {
					t.Error("an address that nobody has is found")
					return
				}
			}
		})
	}
	for i := range 20_000 {
		at, e := testEntry(a, i, names+i%5000)
		x.put(at, e)
		if i%3 == 0 {
			x.remove(e)
		}
	}
	close(done)
	readers.Wait()
}

// TestStaleSlot holds what a reader has read of a slot against every way in which
// the writer can have gone on before the reader looks for the chunk.
func TestStaleSlot(t *testing.T) {
	const name = "room 0"
	elsewhere := func(s *Store, old *entry) {
		at, e := (&appender{arena: &s.arena}).add(old.bytes())
		s.names.put(at, e)
		s.arena.use(at, 1)
		s.arena.dropUnused(at.number())
	}
	for what, change := range map[string]func(s *Store, old *entry){
		"nothing":           func(*Store, *entry) {},
		"moved":             func(s *Store, old *entry) { s.names.put(s.entries.add(old.bytes())) },
		"moved and dropped": elsewhere,
		"moved, dropped, and the number taken by another": func(s *Store, old *entry) {
			elsewhere(s, old)
			(&appender{arena: &s.arena}).add(old.bytes())
		},
		"removed": func(s *Store, old *entry) { s.names.remove(old) },
		"in a shard that has grown": func(s *Store, old *entry) {
			h := s.names.hash(name)
			s.names.shard(h).Store(s.names.shard(h).Load().grown())
			elsewhere(s, old)
			(&appender{arena: &s.arena}).add(old.bytes())
		},
	} {
		t.Run(what, func(t *testing.T) {
			var s Store
			s.arena.chunks.Store(new([]*chunk))
			s.entries.arena = &s.arena
			s.names.init(&s.arena, false, 0)
			s.names.put(testEntry(&s.entries, 0, 0))
			h := s.names.hash(name)
			shard := s.names.shard(h).Load()
			read := slot(shard.at(h).Load())
			old := s.arena.entry(read.ref())
			change(&s, old)
			got := s.names.resolve(h, shard, h, read)
			if what == "nothing" && got != old || what != "nothing" && got != nil {
				t.Errorf("the slot leads to %p, and led to %p", got, old)
			}
		})
	}
}

func TestOutcomeIndex(t *testing.T) {
	r := newRand(t)
	x := outcomeIndex{seed: maphash.MakeSeed()}
	const first = 1<<positionBits - 10_000 // the positions pass a multiple of what a slot holds
	want := map[foyer.ID]uint64{}
	end := uint64(first)
	for range 40_000 {
		id := foyer.ID{byte(r.IntN(256)), byte(r.IntN(30))}
		position, there := want[id]
		switch {
		case !there:
			end += uint64(r.IntN(3))
			x.add(id, end)
			want[id] = end
			end++
		case r.IntN(2) == 0:
			x.remove(id, position)
			delete(want, id)
		}
		if r.IntN(100) == 0 {
			for id, position := range want {
				found := false
				for p := range x.candidates(id, end) {
					found = found || p == position
				}
				if !found {
					t.Fatalf("the outcome of %x at %d is not found", id, position)
				}
			}
		}
	}
	if end < 1<<positionBits {
		t.Errorf("the positions end at %d", end)
	}
	if x.n != len(want) {
		t.Errorf("it holds %d outcomes, want %d", x.n, len(want))
	}
	for id, position := range want {
		x.remove(id, position)
		for p := range x.candidates(id, end) {
			if p == position {
				t.Errorf("the outcome of %x is still found", id)
			}
		}
	}
	if x.n != 0 {
		t.Errorf("it holds %d outcomes, want none", x.n)
	}
}
