package engine_test

import (
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

// A member is a store on a shared log, and an exact copy of the registrations that is
// made of nothing but its own transactions and what it has observed.
type member struct {
	*engine.Store
	copy map[foyer.Name]foyer.Registration
}

func newMember(t *testing.T, log *storetest.SharedLog) *member {
	m := &member{open(t, log), map[foyer.Name]foyer.Registration{}}
	for r, err := range storage.All(m.Store, 100) {
		if err != nil {
			t.Fatal(err)
		}
		m.copy[r.Name] = r
	}
	m.Observe(func(now storage.Instant, changes []storage.Change) {
		if now != m.Last() {
			t.Errorf("the changes of %v are seen at %v", now, m.Last())
		}
		for _, c := range changes {
			before := m.copy[c.After.Name]
			before.Name = c.After.Name
			if before != c.Before {
				t.Errorf("%q was %+v, and the change says %+v", c.After.Name, before, c.Before)
			}
			changed := c.Before != c.After
			if changed != (c.Kind != 0) {
				t.Errorf("from %+v to %+v: %v", c.Before, c.After, c.Kind)
			}
			if ends := changed && c.After.Address == ""; ends != c.Kind.Ends() {
				t.Errorf("from %+v to %+v: %v", c.Before, c.After, c.Kind)
			}
			if m.copy[c.After.Name] = c.After; c.After.Address == "" {
				delete(m.copy, c.After.Name)
			}
		}
	})
	return m
}

// own notes what the member's own transactions have changed.
func (m *member) own(t *testing.T) {
	now := map[foyer.Name]foyer.Registration{}
	for r, err := range storage.All(m.Store, 100) {
		if err != nil {
			t.Fatal(err)
		}
		now[r.Name] = r
	}
	m.copy = now
}

// TestSeveralStores lets several stores on one log take random steps, in turns, with
// Appends that fail in every way, and sees to it that all of them have what the model
// has: whoever it is that carries out a step, and whenever another one comes to it.
func TestSeveralStores(t *testing.T) {
	seed := testenv.Seed(t)
	r := rand.New(rand.NewPCG(seed, 3))
	log := storetest.NewSharedLog(seed)
	walk, model := storetest.NewWalk(seed, 60), storetest.NewModel(storetest.Sabotage{})
	members := []*member{newMember(t, log), newMember(t, log), newMember(t, log)}
	faults := []storetest.Fault{storetest.Refused, storetest.Lost, storetest.Kept, storetest.Late}
	met, saved := map[string]int{}, 0
	for i := range 600 {
		m := members[r.IntN(len(members))]
		if r.IntN(4) == 0 {
			log.Fail(faults[r.IntN(len(faults))])
		}
		if r.IntN(25) == 0 {
			switch err := m.Save(); {
			case err == nil:
				saved++
			case !errors.Is(err, foyer.ErrUnavailable) && !errors.Is(err, storage.ErrUncertain):
				t.Fatal(err)
			}
		}
		if err := m.Follow(); errors.Is(err, storage.ErrUncertain) {
			met["a fence in doubt"]++
			continue
		} else if err != nil && !errors.Is(err, foyer.ErrUnavailable) {
			t.Fatalf("step %d: %v", i, err)
		} else if err != nil {
			continue
		}
		m.own(t)
		step := walk.Next()
		got, gerr := step.Carry(m)
		happened := gerr == nil
		if errors.Is(gerr, storage.ErrUncertain) {
			met["doubt"]++
			other := members[r.IntN(len(members))] // may be the one in doubt
			for settled := error(errors.New("not yet")); settled != nil; settled = errors.Join(other.Follow(), m.Follow()) {
			}
			if happened = m.Last() == step.Now; happened {
				met["doubt, and it had happened"]++
			}
		}
		if !happened && gerr != nil && errors.Is(gerr, foyer.ErrUnavailable) {
			met["refused"]++
			model.Fail(storetest.Refused)
		} else if !happened && errors.Is(gerr, storage.ErrUncertain) {
			model.Fail(storetest.Lost)
		}
		want, werr := step.Carry(model)
		if !slices.Equal(got, want) || happened && werr != nil {
			t.Fatalf("step %d:\n got %q, %v\nwant %q, %v", i, got, gerr, want, werr)
		}
		m.own(t)
		for n, m := range members {
			if r.IntN(4) > 0 {
				continue // it lags
			}
			for m.Follow() != nil {
			}
			if err := walk.Compare(m, model); err != nil {
				t.Fatalf("store %d after step %d: %v", n, i, err)
			}
			inspect(t, m.Store)
			if len(m.copy) != m.Len() {
				t.Fatalf("store %d after step %d: the copy has %d names, not %d", n, i, len(m.copy), m.Len())
			}
			for name, r := range m.copy {
				if now, err := m.Find([]byte(name)); err != nil || now != r {
					t.Fatalf("store %d after step %d: the copy has %+v, not %+v, %v", n, i, r, now, err)
				}
			}
			if r.IntN(8) == 0 {
				met["begun anew"]++
				members[n] = newMember(t, log.Another())
			}
		}
	}
	t.Logf("%v, %d snapshots; %+v", met, saved, inspect(t, members[0].Store))
	for _, what := range []string{"doubt", "doubt, and it had happened", "refused", "begun anew"} {
		if met[what] < 5 {
			t.Errorf("%s: %d times", what, met[what])
		}
	}
	if in := inspect(t, members[0].Store); saved < 5 || in.Snapshot == 0 || log.Head() == 0 {
		t.Errorf("%d snapshots, the last at %d; the log begins at %d", saved, in.Snapshot, log.Head())
	}
}

// TestFasterWithin lets another store be faster between an Update's decision and its
// commit: the function is run again, on what the other one has left, at a time that is
// no earlier.
func TestFasterWithin(t *testing.T) {
	log := storetest.NewSharedLog(1)
	a, b := open(t, log), open(t, log.Another())
	observed := 0
	a.Observe(func(storage.Instant, []storage.Change) { observed++ })
	if err := register(a, "before", time.Second); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err := a.Update(a.Last(), func(tx storage.Tx) error {
		if runs++; runs == 1 {
			if err := register(b, "theirs", time.Hour); err != nil {
				t.Fatal(err)
			}
			return tx.Apply(storage.Event{Kind: storage.Registered, Registration: foyer.Registration{Name: "theirs", Address: "ours"}})
		}
		if reg, err := tx.Get("theirs"); err != nil || reg.Address != "room://theirs:1" || tx.Now() != b.Last() || observed != 1 {
			t.Errorf("%+v, %v at %v, %d observed", reg, err, tx.Now(), observed)
		}
		return tx.Apply(storage.Event{Kind: storage.Registered, Registration: foyer.Registration{Name: "ours", Address: "ours"}})
	})
	if err != nil || runs != 2 {
		t.Errorf("run %d times: %v", runs, err)
	}
	select {
	case <-b.News():
	default:
		t.Error("there are no news")
	}
	if err := b.Follow(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*engine.Store{a, b} {
		want(t, s, "before", true)
		want(t, s, "theirs", true)
		if _, err := s.Find([]byte("ours")); err != nil {
			t.Error(err)
		}
		inspect(t, s)
	}
}
