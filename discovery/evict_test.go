package discovery

import (
	"errors"
	"testing"
	"time"

	"foyer"
	"foyer/storage/storetest"
)

// A name that was evicted for a while is kept from everybody, its owner included,
// over restarts, until the time is over or the operator allows it.
func TestHold(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		e, err := b.server.Evict(b.t.Context(), "Foyer", 10*time.Minute)
		if err != nil || e.Ended == nil || e.Ended.Address != "room://192.0.2.10:1" || !e.Until.Equal(b.server.clock.now().Add(10*time.Minute)) {
			t.Errorf("Evict = %+v, %v", e, err)
		}
		refusal := "NOTOK the operator has taken this name off until " + e.Until.Format(time.RFC3339)
		b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:1 Foyer"), foyer.UnknownName)
		retry := b.registerSigned(1, "room://192.0.2.10:1", "Foyer")
		b.expectCode(retry, foyer.Evicted)
		b.expectCode(retry, foyer.Evicted)
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:2", "Foyer"), foyer.Evicted)
		b.expectCode("@ttl=5 REGISTER room://192.0.2.10:3 Foyer", foyer.Evicted)
		b.expect("REGISTER room://192.0.2.10:3 Foyer", refusal)
		b.expect("REGISTER room://192.0.2.10:3 Hall", "OK")

		b.restart()
		b.expect("REGISTER room://192.0.2.10:3 Foyer", refusal) // before what is said of the address
		// The refusal was not recorded: the same bytes are carried out later.
		if held, err := b.server.Allow(b.t.Context(), "Foyer"); !held || err != nil {
			t.Errorf("Allow = %v, %v", held, err)
		}
		if held, err := b.server.Allow(b.t.Context(), "Foyer"); held || err != nil {
			t.Errorf("Allow, again = %v, %v", held, err)
		}
		b.expectCode(retry, "OK")
		b.expectCode(retry, "OK")

		// It is over by the registry's clock, which never runs backwards.
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 10*time.Minute); err != nil {
			t.Error(err)
		}
		time.Sleep(10*time.Minute - time.Second)
		b.expectCode("@x= REGISTER room://192.0.2.10:5 Foyer", foyer.Evicted)
		time.Sleep(2 * time.Second)
		b.skew.Store(int64(-time.Hour))
		b.expectCode("@x= REGISTER room://192.0.2.10:5 Foyer", "OK")
		if held, err := b.server.Allow(b.t.Context(), "Foyer"); held || err != nil {
			t.Errorf("Allow of what is over = %v, %v", held, err)
		}
	})
}

// A name can be held that is not registered, and a name that is held again is
// held from now on.
func TestHoldOfAFreeName(t *testing.T) {
	run(t, func(b *bench) {
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 0); !errors.Is(err, foyer.ErrUnknownName) {
			t.Error(err)
		}
		for _, hold := range []time.Duration{time.Hour, time.Minute} {
			if e, err := b.server.Evict(b.t.Context(), "Foyer", hold); err != nil || e.Ended != nil {
				t.Errorf("Evict = %+v, %v", e, err)
			}
		}
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", foyer.Evicted)
		time.Sleep(time.Minute)
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", "OK")
	})
}

// What cannot be written has not happened.
func TestHoldOnFailingStore(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.store.Fail(storetest.Refused)
		if _, err := b.server.Evict(b.t.Context(), "Foyer", time.Hour); !errors.Is(err, foyer.ErrUnavailable) {
			t.Error(err)
		}
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")
		b.expectCode("@x= DEREGISTER Foyer", "OK")
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", "OK")
	})
}
