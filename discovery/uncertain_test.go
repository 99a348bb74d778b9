package discovery

import (
	"errors"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// A registration that became durable in an uncertain transaction has the lease
// that it asked for, whether or not its client comes back.
func TestUncertainRegistrationHasItsLease(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Kept, storetest.Lost} {
		run(t, func(b *bench) {
			b.store.Fail(fault)
			if got := b.send("192.0.2.10", "@ttl=5 REGISTER room://192.0.2.10:1 Foyer"); len(got) != 0 {
				t.Errorf("%v: got %q for an uncertain outcome", fault, got)
			}
			want := foyer.Code("OK")
			if fault == storetest.Lost {
				want = foyer.UnknownName
			}
			b.expectCode("@x= LOOKUP Foyer", want)
			time.Sleep(15 * time.Second)
			b.expectCode("@x= LOOKUP Foyer", foyer.UnknownName)
		})
	}
}

// While it is not known whether a name was registered, that is not denied, neither
// to plain retries nor to the operator; what is about other names is refused.
func TestDoubtfulNamesAreNotDenied(t *testing.T) {
	run(t, func(b *bench) {
		const register = "REGISTER room://192.0.2.10:1 Foyer"
		b.store.Fail(storetest.Kept, storetest.Refused, storetest.Refused, storetest.Refused)
		for i := range 2 {
			if got := b.send("192.0.2.10", register); len(got) != 0 {
				t.Errorf("try %d got %q", i+1, got)
			}
		}
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 0); !errors.Is(err, storage.ErrUncertain) {
			t.Errorf("Evict: %v, want storage.ErrUncertain", err)
		}
		b.expectCode("@x= REGISTER room://192.0.2.10:2 Attic", foyer.Unavailable)
		b.expectCode("@x= "+register, foyer.NameTaken) // the disk is back
		b.expectCode("@x= REGISTER room://192.0.2.10:2 Attic", "OK")
	})
}

// A room whose takeover became durable in an uncertain transaction keeps its
// name at the new address as long as it renews, and no longer.
func TestUncertainReplacementHasItsLease(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		b.store.Fail(storetest.Kept)
		if got := b.send("192.0.2.10", b.registerSigned(1, "room://192.0.2.10:2", "Foyer")); len(got) != 0 {
			t.Errorf("got %q for an uncertain outcome", got)
		}
		for range 5 {
			time.Sleep(20 * time.Second)
			b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:2 Foyer"), "OK")
		}
		time.Sleep(40 * time.Second)
		b.expectCode("@x= LOOKUP Foyer", foyer.UnknownName)
	})
}

// A name whose lease runs out while it is not known whether its owner has registered
// it anew is free only if that had not happened, and else as long as the new lease
// says: whenever in between that becomes known.
func TestLeaseRunsOutInDoubt(t *testing.T) {
	for refusals := range 40 {
		run(t, func(b *bench) {
			b.expectCode(b.signed(1, ";ttl=5;key="+publicKey(1), "REGISTER room://192.0.2.10:1 Foyer"), "OK")
			time.Sleep(4 * time.Second)
			again := b.signed(1, ";ttl=60;key="+publicKey(1), "REGISTER room://192.0.2.10:2 Foyer")
			b.store.Fail(storetest.Kept)
			b.store.Fail(slices.Repeat([]storetest.Fault{storetest.Refused}, refusals)...)
			if got := b.send("192.0.2.10", again); len(got) != 0 {
				t.Errorf("got %q for an uncertain outcome", got)
			}
			time.Sleep(20 * time.Second)
			b.expectCode(again, "OK") // as is recorded
			if got := codeOf(t, b.ask("@x= LOOKUP Foyer")); got != "OK" {
				t.Errorf("known after %d refusals: the registration that was answered OK is gone, %s", refusals, got)
			}
		})
	}
}

// Replies of the plain dialect are told apart by their order: behind a line that is
// met with silence nothing is answered.
func TestNothingIsAnsweredBehindSilence(t *testing.T) {
	run(t, func(b *bench) {
		const register = "REGISTER room://192.0.2.10:1 Foyer"
		b.store.Fail(storetest.Kept, storetest.Refused, storetest.Refused)
		b.send("192.0.2.10", register)
		if got := b.send("192.0.2.10", "LOOKUP nobody\n"+register+"\nLOOKUP Foyer\nDEREGISTER nobody"); !slices.Equal(got, []string{"NOTOK no room of that name is registered"}) {
			t.Errorf("got %q", got)
		}
	})
}

// A hold in doubt is not denied, although the name is not registered.
func TestDoubtfulHoldsAreNotDenied(t *testing.T) {
	run(t, func(b *bench) {
		b.store.Fail(storetest.Kept, storetest.Refused, storetest.Refused)
		for i := range 3 {
			if _, err := b.server.Evict(b.t.Context(), "Foyer", time.Hour); !errors.Is(err, storage.ErrUncertain) {
				t.Errorf("try %d: %v, want storage.ErrUncertain", i+1, err)
			}
		}
		time.Sleep(time.Second) // it is settled without anybody asking
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", foyer.Evicted)
	})
}

// When the disk is back that is noticed also if nobody writes.
func TestHealthComesBack(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Refused, storetest.Kept, storetest.Lost} {
		run(t, func(b *bench) {
			b.store.Fail(fault)
			b.send("192.0.2.10", "@id="+b.id(0)+" DEREGISTER nobody") // changes nothing but is recorded
			if b.server.Healthy() {
				t.Errorf("%v: healthy", fault)
			}
			time.Sleep(2 * probeEvery)
			if !b.server.Healthy() {
				t.Errorf("%v: not healthy", fault)
			}
		})
	}
}
