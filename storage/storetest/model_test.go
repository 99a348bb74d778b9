package storetest

import (
	"errors"
	"testing"

	"foyer"
	"foyer/storage"
)

func TestModel(t *testing.T) {
	Test(t, func(*testing.T) func() storage.Store {
		m := NewModel(Sabotage{})
		return func() storage.Store {
			m = m.Reopen()
			return m
		}
	})
}

func TestModelFaults(t *testing.T) {
	for _, c := range []struct {
		fault   Fault
		err     error
		happens bool
	}{
		{None, nil, true},
		{Refused, foyer.ErrUnavailable, false},
		{Lost, storage.ErrUncertain, false},
		{Kept, storage.ErrUncertain, true},
		{Torn, storage.ErrUncertain, true},
	} {
		m := NewModel(Sabotage{})
		m.Fail(c.fault)
		p := &place{Store: m, t: t}
		err := m.Update(p.now(), func(tx storage.Tx) error {
			if err := tx.Record(storage.Outcome{ID: foyer.ID{1}}); err != nil {
				return err
			}
			return tx.Apply(event(storage.Registered, plain("Foyer", 1)))
		})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: Update = %v, want %v", c.fault, err, c.err)
		}
		p.Store = m.Reopen()
		if p.Len() == 1 != c.happens {
			t.Errorf("%s: Len() = %d", c.fault, p.Len())
		}
		p.update(func(tx storage.Tx) error { // the next one works again
			if _, ok, err := tx.Outcome(foyer.ID{1}); ok != c.happens || err != nil {
				t.Errorf("%s: Outcome = %v, %v", c.fault, ok, err)
			}
			return nil
		})
		if err := p.Store.(*Model).Invariant(); err != nil {
			t.Errorf("%s: %v", c.fault, err)
		}
		if err := m.Update(p.now(), func(storage.Tx) error { return nil }); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("an Update of the closed Model = %v", err)
		}
	}
}

func TestSabotage(t *testing.T) {
	t.Run("DropOutcomes", func(t *testing.T) {
		p := &place{Store: NewModel(Sabotage{DropOutcomes: true}), t: t}
		p.update(func(tx storage.Tx) error { return tx.Record(storage.Outcome{ID: foyer.ID{1}}) })
		p.update(func(tx storage.Tx) error {
			if _, ok, _ := tx.Outcome(foyer.ID{1}); ok {
				t.Error("the outcome was kept")
			}
			return nil
		})
	})
	t.Run("SplitIndexes", func(t *testing.T) {
		m := NewModel(Sabotage{SplitIndexes: true})
		m.Fail(Torn)
		p := &place{Store: m, t: t}
		err := m.Update(p.now(), func(tx storage.Tx) error { return tx.Apply(event(storage.Registered, plain("Foyer", 1))) })
		if !errors.Is(err, storage.ErrUncertain) {
			t.Errorf("Update = %v", err)
		}
		if m.Invariant() == nil {
			t.Error("the indexes agree")
		}
	})
}
