package bolt

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"foyer"
	"foyer/storage/storetest"
)

// entryOf returns an entry in an arena of its own.
func entryOf(r foyer.Registration) *entry {
	_, e := (&appender{arena: new(arena)}).add(&r)
	return e
}

func testEntry(a *appender, name, address int) (ref, *entry) {
	return a.add(&foyer.Registration{Name: foyer.Name(fmt.Sprint("room ", name)), Address: foyer.Address(fmt.Sprint("room://h:", address))})
}

func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	for _, names := range []int{20, 30_000} {
		a := &appender{arena: new(arena)}
		var x index
		x.init(a.arena, false)
		want := map[string]*entry{}
		for range 60_000 {
			at, e := testEntry(a, r.IntN(names), r.IntN(names))
			switch r.IntN(3) {
			case 0:
				x.remove(e.name())
				delete(want, e.name())
			case 1:
				x.put(at, e)
				want[e.name()] = e
			default:
				if got := x.find(e.name()); got != want[e.name()] {
					t.Fatalf("find(%q) = %p, want %p", e.name(), got, want[e.name()])
				}
			}
		}
		n := 0
		for _, e := range x.all {
			if n++; want[e.name()] != e {
				t.Errorf("%q is in the index, and should be %p", e.name(), want[e.name()])
			}
		}
		if n != len(want) || x.len() != n {
			t.Errorf("%d entries, len() = %d; want %d", n, x.len(), len(want))
		}
	}
}

// TestFindAll looks up names some of which are in the way of others: a name that
// has the same hash stands before them.
func TestFindAll(t *testing.T) {
	a := &appender{arena: new(arena)}
	var x index
	x.init(a.arena, false)
	const names = sideBySide - 1
	for i := range names {
		at, e := testEntry(a, i, i)
		if i%5 == 1 {
			h := x.hash(e.name())
			other, e := testEntry(a, names+i, names+i)
			x.shard(h).Load().put(h, other, e.name(), &x)
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
	a := &appender{arena: new(arena)}
	var x index
	x.init(a.arena, true)
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
			x.remove(e.address())
		}
	}
	close(done)
	readers.Wait()
}

func TestOutcomeIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	var x outcomeIndex
	x.init()
	const first = 1<<40 - 1000 // the positions pass a multiple of what a slot holds
	want := map[foyer.ID]uint64{}
	tail := uint64(first)
	for range 40_000 {
		id := foyer.ID{byte(r.IntN(256)), byte(r.IntN(30))}
		position, there := want[id]
		switch {
		case !there:
			tail += uint64(r.IntN(3))
			x.add(x.slot(id, 0).at(tail, int(tail%blockSize)))
			want[id] = tail
			tail++
		case r.IntN(2) == 0:
			x.remove(x.slot(id, 0).at(position, int(position%blockSize)))
			delete(want, id)
		}
		if r.IntN(100) == 0 {
			for id, position := range want {
				found := false
				x.candidates(id, func(p outcomePlace) bool {
					found = found || p.slot.block(tail) == position && uint64(p.offset) == position%blockSize
					return true
				})
				if !found {
					t.Fatalf("the outcome of %x is not found", id)
				}
			}
		}
	}
	if x.n != len(want) {
		t.Errorf("it holds %d outcomes, want %d", x.n, len(want))
	}
	for id, position := range want {
		x.remove(x.slot(id, 0).at(position, int(position%blockSize)))
	}
	if x.n != 0 {
		t.Errorf("it holds %d outcomes, want none", x.n)
	}
}
