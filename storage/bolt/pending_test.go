package bolt

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// TestPendingEvents sweeps while events are added. An event that was there when
// a sweep began is taken in it, those of a sweep come in the order of names and
// those of a name in the order in which they were added.
func TestPendingEvents(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	n := newPendingEvents()
	all := map[string][]uint64{}     // positions of the events that are pending, oldest first
	waiting := map[string][]uint64{} // those since before the sweep
	last, position, sweeps := "", uint64(0), 0
	for i := 0; sweeps < 30; i++ {
		position++
		block := n.begin(position, 0)
		for range 1 + r.IntN(400) {
			name := fmt.Sprintf("%x", r.IntN(1<<(8+r.IntN(8))))
			if r.IntN(50) == 0 {
				n.forget(block, name)
			} else {
				n.add(block, name, position, testEvent(storage.RenewedLate))
			}
			all[name] = append(all[name], position)
		}
		taken := n.take(r.IntN(700))
		if r.IntN(5) == 0 { // the commit failed: they are taken again
			continue
		}
		for rest := taken; len(rest) > 0; {
			end := n.endOfName(rest, 1)
			name := n.name(rest[0])
			if name <= last {
				t.Fatalf("%q after %q", name, last)
			}
			for j, e := range rest[:end] {
				if got, want := n.blocks[e.block].position, all[name][j]; got != want {
					t.Fatalf("event %d of %q is of group %d, want %d", j, name, got, want)
				}
			}
			if all[name] = all[name][end:]; len(all[name]) == 0 {
				delete(all, name)
			}
			waiting[name] = waiting[name][min(end, len(waiting[name])):]
			last, rest = name, rest[end:]
		}
		over := n.endsWith(len(taken))
		n.done(taken, over)
		if over {
			for name, left := range waiting {
				if len(left) > 0 {
					t.Fatalf("a sweep has left out %d events of %q", len(left), name)
				}
			}
			waiting = maps.Clone(all)
			last = ""
			sweeps++
		}
		if i%20 == 0 {
			checkPending(t, n, all, fmt.Sprintf("%x", r.IntN(1<<16)))
		}
	}
}

// checkPending compares what is pending of the names behind one.
func checkPending(t *testing.T, n *pendingEvents, all map[string][]uint64, after string) {
	t.Helper()
	total := 0
	var want []string
	for name, positions := range all {
		total += len(positions)
		if name > after {
			want = append(want, name)
		}
		if p := n.get(name, 0); p == nil || p.position != positions[len(positions)-1] {
			t.Fatalf("%q has the events %v, got %+v", name, positions, p)
		}
		if p := n.get(name, positions[len(positions)-1]); p != nil {
			t.Fatalf("%q has no later event than %v, got %+v", name, positions, p)
		}
	}
	if n.len() != total {
		t.Fatalf("%d events, want %d", n.len(), total)
	}
	blocks := 0
	for i := range n.blocks {
		if n.blocks[i].bytes != nil {
			blocks++
		}
	}
	if blocks+len(n.free) != len(n.blocks) || blocks > total {
		t.Fatalf("%d of %d blocks are in use and %d free, with %d events", blocks, len(n.blocks), len(n.free), total)
	}
	slices.Sort(want)
	var got []string
	for p := range n.after(after) {
		got = append(got, p.name)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("after %q there are %d names, want %d", after, len(got), len(want))
	}
}

func testEvent(k storage.Kind) []byte {
	return appendEvent(nil, storage.Event{Kind: k, Registration: foyer.Registration{Address: "room://h:1"}})
}

// TestPendingOfOneName lets one name change far more often than a part is large.
func TestPendingOfOneName(t *testing.T) {
	n := newPendingEvents()
	const events = 20 * partSize
	for i := range events {
		n.add(n.begin(uint64(i+1), 0), "b", 0, testEvent(storage.Registered+storage.Kind(i%2)*(storage.Deregistered-storage.Registered)))
		if i%partSize == 0 {
			n.add(n.begin(uint64(i+1), 0), fmt.Sprint("a", i), 0, testEvent(storage.Registered))
			n.add(n.begin(uint64(i+1), 0), fmt.Sprint("c", i), 0, testEvent(storage.Registered))
		}
	}
	if p := n.get("b", 0); p.position != events || p.registered() || !p.known || len(p.historyAfter(nil)) != storage.HistoryPerName {
		t.Errorf("it was changed last by %d, want %d; registered: %v; %d events are remembered",
			p.position, events, p.registered(), len(p.historyAfter(nil)))
	}
	if got := len(n.take(2 * events)); got != n.len() || !n.over {
		t.Errorf("a sweep took %d events", got)
	}
}

// TestPendingMerge: a name's events, one after the other.
func TestPendingMerge(t *testing.T) {
	first := foyer.Registration{Name: "n", Address: "room://h:1", RegisteredAt: time.UnixMilli(1).UTC()}
	second := first
	second.Address = "room://h:2"
	n := newPendingEvents()
	add := func(position uint64, k storage.Kind, r foyer.Registration) {
		n.add(n.begin(position, 0), "n", position, appendEvent(nil, storage.Event{Kind: k, Registration: r}))
	}
	for position, step := range []struct {
		add        func(position uint64)
		registered string
		known      bool
		history    int
		forget     bool
	}{
		1: {func(p uint64) { add(p, storage.RenewedLate, first) }, "", false, 1, false},
		2: {func(p uint64) { add(p, storage.Registered, first) }, "room://h:1", true, 2, false},
		3: {func(p uint64) { add(p, storage.Extended, first) }, "room://h:1", true, 2, false},
		4: {func(p uint64) { add(p, storage.Replaced, second) }, "room://h:2", true, 3, false},
		5: {func(p uint64) { add(p, storage.RenewedLate, second) }, "room://h:2", true, 4, false},
		6: {func(p uint64) { add(p, storage.Expired, second) }, "", true, 5, false},
		7: {func(p uint64) { n.forget(n.begin(p, 0), "n") }, "", true, 0, true},
		8: {func(p uint64) { add(p, storage.Registered, first) }, "room://h:1", true, 1, true},
	} {
		if position == 0 {
			continue
		}
		step.add(uint64(position))
		p := n.get("n", 0)
		if string(p.current.Address) != step.registered || p.known != step.known || len(p.history) != step.history ||
			p.forget != step.forget || p.position != uint64(position) {
			t.Errorf("after step %d: %+v, want %+v", position, p, step)
		}
	}
	if p := n.get("n", 0); p.ending != 6 {
		t.Errorf("it ended as number %d, want 6", p.ending)
	}
}
