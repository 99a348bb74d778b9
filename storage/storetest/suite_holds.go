package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// wantHolds fails the test unless exactly these are kept, which are in order.
func (p *place) wantHolds(want ...storage.Hold) {
	p.t.Helper()
	got, err := p.Holds()
	if err != nil || !slices.Equal(got, want) {
		p.t.Errorf("Holds, %v:\n got %+v\nwant %+v", err, got, want)
	}
}

func testHold(t *testing.T, p *place) {
	hold := func(name foyer.Name, d time.Duration) storage.Hold {
		return storage.Hold{Name: name, Since: epoch, Until: epoch.Add(d)}
	}
	lobby, hall := hold("Foyer", time.Hour), hold(foyer.Name(strings.Repeat("é", 127)), -time.Hour)
	p.wantHolds()
	p.apply(event(storage.Registered, plain("Foyer", 1)))
	p.update(func(tx storage.Tx) error {
		if h, held := tx.Held("Foyer"); held {
			t.Errorf("Held before Hold: %+v", h)
		}
		for _, h := range []storage.Hold{lobby, hall} {
			if err := tx.Hold(h); err != nil {
				return err
			}
			if got, held := tx.Held(h.Name); !held || got != h {
				t.Errorf("Held(%q) in the transaction is %+v, %v", h.Name, got, held)
			}
		}
		return nil
	})
	p.wantHolds(lobby, hall)
	p.wantFound(plain("Foyer", 1)) // a hold ends nothing
	p.reopen()
	p.wantHolds(lobby, hall)

	// Nothing of a transaction that is given up.
	failure := errors.New("a failure of the function")
	if err := p.Update(p.now(), func(tx storage.Tx) error {
		tx.Hold(hold("Foyer", 9*time.Hour))
		tx.Hold(hold("Attic", time.Hour))
		tx.Hold(storage.Hold{Name: hall.Name})
		return failure
	}); err != failure {
		t.Errorf("Update: %v", err)
	}
	p.wantHolds(lobby, hall)

	// Another one takes its place, and one without an end takes it away, also in
	// the transaction that made it.
	lobby = hold("Foyer", 2*time.Hour)
	p.update(func(tx storage.Tx) error {
		for _, h := range []storage.Hold{lobby, {Name: hall.Name}, hold("Attic", time.Millisecond), {Name: "Attic"}, {Name: "Nowhere"}} {
			if err := tx.Hold(h); err != nil {
				return err
			}
			if got, held := tx.Held(h.Name); held == h.Until.IsZero() || held && got != h {
				t.Errorf("Held(%q) in the transaction is %+v, %v", h.Name, got, held)
			}
		}
		return nil
	})
	for range 2 {
		p.wantHolds(lobby)
		p.update(func(tx storage.Tx) error {
			if got, held := tx.Held("Foyer"); !held || got != lobby {
				t.Errorf("Held = %+v, %v", got, held)
			}
			if got, held := tx.Held(hall.Name); held {
				t.Errorf("Held, of one taken away: %+v", got)
			}
			return nil
		})
		p.reopen()
	}
	p.update(func(tx storage.Tx) error { return tx.Hold(storage.Hold{Name: "Foyer"}) })
	p.wantHolds()
	p.reopen()
	p.wantHolds()
}

func testHoldsBounded(t *testing.T, p *place) {
	hold := func(i int) storage.Hold {
		return storage.Hold{Name: foyer.Name(fmt.Sprintf("room %05d", i)), Since: epoch, Until: epoch.Add(time.Hour)}
	}
	full := func(tx storage.Tx) {
		t.Helper()
		if err := tx.Hold(hold(storage.MaxHolds)); !errors.Is(err, foyer.ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		if err := tx.Hold(hold(7)); err != nil {
			t.Errorf("one that is held already: %v", err)
		}
	}
	p.update(func(tx storage.Tx) error {
		for i := range storage.MaxHolds {
			if err := tx.Hold(hold(i)); err != nil {
				return err
			}
		}
		full(tx)
		return nil
	})
	p.reopen()
	p.update(func(tx storage.Tx) error {
		full(tx)
		if err := tx.Hold(storage.Hold{Name: hold(3).Name}); err != nil {
			return err
		}
		if err := tx.Hold(hold(storage.MaxHolds)); err != nil {
			return err
		}
		if err := tx.Hold(hold(3)); !errors.Is(err, foyer.ErrBusy) {
			t.Errorf("one too many, after one was taken away: %v", err)
		}
		return nil
	})
	p.reopen()
	if list, err := p.Holds(); err != nil || len(list) != storage.MaxHolds || list[3] != hold(4) || list[len(list)-1] != hold(storage.MaxHolds) {
		t.Errorf("%d holds, %v", len(list), err)
	}

	// When an hour has gone by all of them give way to one.
	now, next := p.now(), hold(storage.MaxHolds+1)
	now.Wall = epoch.Add(time.Hour)
	next.Until = now.Wall.Add(time.Minute)
	if err := p.Update(now, func(tx storage.Tx) error { return tx.Hold(next) }); err != nil {
		t.Fatal(err)
	}
	p.wantHolds(next)
	p.reopen()
	p.wantHolds(next)
}
