package simulation

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"foyer/internal/testenv"
	"foyer/storage/storetest"
)

// planOf returns the plan of a seed's world: an odd seed makes a small one, an
// even one a large one, one in four uses the real store, which is slower than its
// model, and one in eight each has long leases or is full of doubt.
func planOf(t *testing.T, seed uint64) plan {
	p := plan{seed: seed, districts: 3, actors: 5, operations: 40}
	if seed%2 == 0 {
		p = plan{seed: seed, districts: 6, actors: 6, operations: 60}
	}
	switch seed % 8 {
	case 5:
		p.climate = slowly
	case 7:
		p.climate = doubtfully
	}
	if seed/2%4 == 0 {
		p.medium = newFolder(t.TempDir(), p.stream("folder", 0))
	} else {
		p.medium = newMemory(storetest.Sabotage{})
	}
	return p
}

// run makes the world of a seed, fails the test if something is wrong with it,
// and returns it.
func run(t *testing.T, seed uint64) *world {
	w := simulate(t, planOf(t, seed))
	if wrong := w.verdict(); wrong != "" {
		t.Errorf("FOYER_SEED=%d go test -run 'TestSimulation$' foyer/internal/simulation\n%+v\n%s", seed, w.climate, wrong)
	}
	return w
}

// TestSimulation makes a handful of small worlds that are always the same, and
// a new one. With FOYER_SEED it makes only that world; with FOYER_SOAK, a
// duration, as many new ones as it can in that time.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("FOYER_SOAK"); s != "" {
		long, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("FOYER_SOAK: %v", err)
		}
		soak(t, long)
		return
	}
	seed := testenv.Seed(t)
	if os.Getenv("FOYER_SEED") == "" {
		for _, fixed := range []uint64{1, 3, 5, 7} {
			run(t, fixed)
		}
		seed |= 1
	}
	w := run(t, seed)
	t.Logf("the last world: %v", w)
}

// String sums up what happened.
func (w *world) String() string {
	unanswered := 0
	for _, op := range w.history.operations {
		if op.answer.unknown {
			unanswered++
		}
	}
	return fmt.Sprintf("%d operations (%d without an answer), %d outcomes, %d changes, %d kills, %d stalls, digest %x",
		len(w.history.operations), unanswered, w.journal.recorded, w.journal.changes, w.registry.kills, w.time.stalls(), w.history.digest())
}

// soak makes new worlds, as many at a time as there are processors.
func soak(t *testing.T, long time.Duration) {
	first := testenv.Seed(t)
	var worlds, operations, histories, asked, undecided atomic.Int64
	began := time.Now()
	report := func() {
		fmt.Printf("%v: %d worlds from seed %d, %d operations; of %d histories %d with the journal's help, %d undecided\n",
			time.Since(began).Round(time.Second), worlds.Load(), first, operations.Load(), histories.Load(), asked.Load(), undecided.Load())
	}
	t.Cleanup(report) // when the parallel subtests have ended
	var reported atomic.Int64
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(strconv.Itoa(worker), func(t *testing.T) {
			t.Parallel()
			for time.Since(began) < long && !t.Failed() {
				seed := first + uint64(worlds.Add(1)) - 1
				w := run(t, seed)
				operations.Add(int64(len(w.history.operations)))
				histories.Add(int64(w.districts))
				asked.Add(int64(w.asked))
				undecided.Add(int64(w.undecided))
				if n := int64(time.Since(began) / (10 * time.Second)); reported.Swap(n) < n {
					report()
				}
			}
		})
	}
}

// A registry that is stopped under load answers what it has accepted, and
// accepts nothing more.
func TestStopsUnderLoad(t *testing.T) {
	stops := 0
	for seed := range uint64(3) {
		p := plan{seed: seed, districts: 6, actors: 6, operations: 40, medium: newMemory(storetest.Sabotage{}), climate: func(c *climate) {
			c.kinds, c.trouble = []trouble{stopped}, 300*time.Millisecond
			c.pause = 20 * time.Millisecond
			c.disk.usual = 20 * time.Millisecond
		}}
		w := simulate(t, p)
		if wrong := w.verdict(); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
		stops += w.registry.stops
	}
	if stops < 10 {
		t.Errorf("there were %d stops", stops)
	}
}

// While it is unknown whether a transaction happened, none of it is denied.
func TestDoubtIsNotDenied(t *testing.T) {
	for seed := range uint64(3) {
		p := plan{seed: seed, districts: 4, actors: 4, operations: 40, medium: newMemory(storetest.Sabotage{}), climate: func(c *climate) {
			c.disk.lost, c.disk.kept, c.disk.doubt, c.disk.settles = 0.05, 0.05, 1, 3*time.Second
		}}
		if wrong := simulate(t, p).verdict(); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}

// No lease ends early: neither a long one, at whatever times it was renewed and the
// registry killed after that, nor one that runs out while it is unknown whether its
// owner, who is alone in the district, has registered anew.
func TestNoLeaseEndsEarly(t *testing.T) {
	for name, c := range map[string]struct {
		change             func(*climate)
		actors, operations int
	}{"long": {slowly, 3, 60}, "in doubt": {doubtfully, 1, 150}} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(7) {
				p := plan{seed: seed, districts: 3, actors: c.actors, operations: c.operations, medium: newMemory(storetest.Sabotage{}), climate: c.change}
				if wrong := simulate(t, p).verdict(); wrong != "" {
					t.Errorf("seed %d: %s", seed, wrong)
				}
			}
		})
	}
}

// What strangers replay or make up renews nothing and shortens no lease.
func TestStrangersAndReplays(t *testing.T) {
	for seed := range uint64(4) {
		p := plan{seed: seed, districts: 4, actors: 4, operations: 60, medium: newMemory(storetest.Sabotage{}), climate: func(c *climate) {
			c.replays, c.trouble = 20*time.Millisecond, time.Minute
			c.net.Hold = 2 * time.Second
		}}
		if wrong := simulate(t, p).verdict(); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}

// A seed is useful only if it leads to the same world again.
func TestASeedRepeats(t *testing.T) {
	for _, seed := range []uint64{9, testenv.Seed(t) | 1} {
		a, b := simulate(t, planOf(t, seed)), simulate(t, planOf(t, seed))
		if a.history.digest() == b.history.digest() {
			continue
		}
		for i, op := range a.history.operations {
			if other := b.history.operations[i]; op.String() != other.String() {
				t.Errorf("seed %d: operation %d differs:\n%v\n%v", seed, i, op, other)
				break
			}
		}
	}
}

// The real store does what its model does, to the byte.
func TestStoresAgree(t *testing.T) {
	onDisk := planOf(t, 17)
	inMemory := onDisk
	inMemory.medium = newMemory(storetest.Sabotage{})
	if a, b := simulate(t, onDisk), simulate(t, inMemory); a.history.digest() != b.history.digest() {
		t.Errorf("on the real store: %v\non the model: %v", a, b)
	}
}

// broken returns the plan of a small world on a broken store.
func broken(seed uint64, s storetest.Sabotage) plan {
	return plan{seed: seed, districts: 4, actors: 3, operations: 30, medium: newMemory(s), climate: func(c *climate) {
		c.net.Loss, c.net.Duplicate = 0.2, 0.1
		c.disk.crash = 0.12
	}}
}

// A registry that forgets outcomes is detected, by the journal and by what its
// clients see.
func TestLostOutcomesAreNoticed(t *testing.T) {
	expectObjections(t, storetest.Sabotage{DropOutcomes: true})
}

// So is one that writes its two indexes in two transactions and is killed
// between them.
func TestSplitIndexesAreNoticed(t *testing.T) {
	expectObjections(t, storetest.Sabotage{SplitIndexes: true})
}

// expectObjections expects the journal and the tap to see the damage in every world, and
// porcupine in those in which clients happen to meet it: of 64 it objected to 33 without
// outcomes, and to 37 with split indexes. If seeds come to make other worlds it objects to
// fewer than 9 of 24 once in 20 times or less; and if it noticed the damage in one of five
// only, it would object to 9 once in 28 times.
func expectObjections(t *testing.T, s storetest.Sabotage) {
	const worlds, least = 24, 9
	audited, inexplicable := 0, 0
	for seed := range uint64(worlds) {
		w := simulate(t, broken(seed, s))
		if len(w.problems.all()) > 0 {
			audited++
		}
		if len(w.illegal) > 0 {
			inexplicable++
		}
	}
	t.Logf("of %d worlds the journal and the tap object to %d, and porcupine to %d", worlds, audited, inexplicable)
	if audited < worlds || inexplicable < least {
		t.Error("too much went unnoticed")
	}
	for seed := range uint64(worlds / 3) { // in the same worlds, without the damage
		if wrong := simulate(t, broken(seed, storetest.Sabotage{})).verdict(); wrong != "" {
			t.Errorf("seed %d, nothing broken: %s", seed, wrong)
		}
	}
}
