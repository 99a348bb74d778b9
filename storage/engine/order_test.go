package engine

import (
	"fmt"
	"slices"
	"testing"

	"foyer"
)

// TestOrder puts names into an order, changes and removes them, and joins parts,
// and holds it against a map.
func TestOrder(t *testing.T) {
	r := newRand(t)
	a := &appender{arena: newArena()}
	o := order{arena: a.arena, most: 8, parts: []*part{{}}}
	want := map[string]ref{}
	joined, mostParts := 0, 0
	for i := range 20_000 {
		name := r.IntN(1 + r.IntN(600))
		at, e := testEntry(a, name, i)
		old := want[e.name()]
		if i%4000 < 2000 && r.IntN(4) > 0 || old == 0 {
			if o.put(e.name(), old, at); !o.parts[o.at(e.name())].dirty {
				t.Fatalf("the part with %q is not dirty", e.name())
			}
			want[e.name()] = at
		} else {
			o.put(e.name(), old, 0)
			delete(want, e.name())
		}
		if j := r.IntN(len(o.parts)); j > 0 && len(o.parts[j].refs)+len(o.parts[j-1].refs) < 4 {
			o.join(o.parts[j-1], o.parts[j])
			joined++
		}
		mostParts = max(mostParts, len(o.parts))
		if i%100 == 0 {
			checkOrder(t, &o, want)
		}
	}
	checkOrder(t, &o, want)
	if mostParts < 40 || joined < 40 {
		t.Errorf("there were %d parts at most, and %d were joined: that is too little", mostParts, joined)
	}
}

func checkOrder(t *testing.T, o *order, want map[string]ref) {
	t.Helper()
	if o.n != len(want) || o.parts[0].from != "" {
		t.Fatalf("it holds %d names, and begins with %q; want %d", o.n, o.parts[0].from, len(want))
	}
	for i, p := range o.parts {
		if len(p.refs) >= o.most {
			t.Fatalf("the part from %q has %d names", p.from, len(p.refs))
		}
		if i > 0 && p.from <= o.parts[i-1].from {
			t.Fatalf("the part from %q is behind that from %q", p.from, o.parts[i-1].from)
		}
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, after := range []string{"", "room 3", "room 3\x00", "room 42", "zzz"} {
		var got []string
		for e := range o.after(after) {
			if at, there := want[e.name()]; !there || o.arena.entry(at) != e {
				t.Fatalf("%q is at another place", e.name())
			}
			got = append(got, e.name())
		}
		i, found := slices.BinarySearch(names, after)
		if found {
			i++
		}
		if !slices.Equal(got, names[i:]) {
			t.Fatalf("after %q are %q, want %q", after, got, names[i:])
		}
		n := 0
		for range o.after(after) {
			if n++; n == 3 {
				break
			}
		}
		if n != min(3, len(names)-i) {
			t.Fatalf("it did not stop after 3 names but %d", n)
		}
	}
}

// TestEndedNames lets names end, come again, end again and be forgotten.
func TestEndedNames(t *testing.T) {
	r := newRand(t)
	a := &appender{arena: newArena()}
	var x index
	x.init(a.arena, false, 0)
	var q endedNames
	var want []string
	longest := 0
	for i := range 30_000 {
		name := fmt.Sprint("room ", r.IntN(300))
		rec := record{registration: foyer.Registration{Name: foyer.Name(name)}, history: sampleEvents()[:1]}
		old := x.find(name)
		ended := slices.Index(want, name)
		switch n := r.IntN(10); {
		case ended >= 0 && n == 0: // forgotten
			rec.history = nil
			want = slices.Delete(want, ended, ended+1)
		case ended >= 0 && n == 1: // held, which is no end
			rec.ended = old.endOrder()
			rec.hold = sampleRecords()[2].hold
		case ended >= 0 && n < 5: // ended again
			want = append(slices.Delete(want, ended, ended+1), name)
			rec.ended = endOrder{uint64(i / 5), uint64(i % 5)}
		case ended >= 0: // registered
			want = slices.Delete(want, ended, ended+1)
			rec.registered, rec.registration.Address = true, "room://h:1"
		default:
			want = append(want, name)
			rec.ended = endOrder{uint64(i / 5), uint64(i % 5)}
		}
		at, e := a.add(rec.append(nil))
		x.put(at, e)
		q.change(old, e)
		q.trim(&x)
		longest = max(longest, len(q.queue))
		if i%100 == 0 {
			again := endedNames{}
			for _, e := range x.all() { // in no order
				if e.isEnded() {
					again.change(nil, e)
				}
			}
			sortEnded(again.queue)
			for _, q := range []*endedNames{&q, &again} {
				if got := slices.Collect(q.all(&x)); q.n != len(want) || !slices.Equal(got, want) {
					t.Fatalf("after step %d there are %d, %q; want %q", i, q.n, got, want)
				}
			}
		}
		if len(q.queue) > 2*q.n+16 {
			t.Fatalf("the queue has %d names, of which %d have ended", len(q.queue), q.n)
		}
	}
	if longest < 200 || len(want) < 50 {
		t.Errorf("there were %d in the queue at most, and are %d", longest, len(want))
	}
}
