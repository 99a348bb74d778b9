package discovery

import (
	"crypto/ed25519"
	"net/netip"
	"testing"

	"foyer"
	"foyer/wire"
)

// Nobody can register the IP address of another host, and so keep its rooms from
// registering theirs.
func TestAddressesOfOthers(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.11:4000 Foyer",
			"NOTOK the address is not the one that the request comes from: advertise an address of your own, or ask the operator")
		for _, c := range []struct {
			from, host string
			believed   bool
		}{
			{"192.0.2.10", "192.0.2.10", true},
			{"192.0.2.10", "[::ffff:192.0.2.10]", true},
			{"192.0.2.10", "192.0.2.11", false},
			{"192.0.2.10", "127.0.0.1", false},
			{"192.0.2.10", "0.0.0.0", false},
			{"192.0.2.10", "[2001:db8::1]", false},
			{"192.0.2.10", "rooms.example.org", true}, // no look-up is made
			{"2001:db8::1", "[2001:DB8:0::01]", true},
			{"2001:db8::1", "[2001:db8::2]", false}, // of the same network
			{"2001:db8::1", "192.0.2.11", false},
			{"fe80::1%2", "[fe80::1]", true},
			{"127.0.0.1", "192.0.2.11", true},
			{"127.8.9.10", "[2001:db8::1]", true},
			{"::1", "192.0.2.11", true},
		} {
			x := exchange{peer: netip.AddrPortFrom(netip.MustParseAddr(c.from), 5000)}
			var r request
			if err := r.parse([]byte("REGISTER room://" + c.host + ":4000 Foyer")); err != nil {
				t.Fatal(err)
			}
			if got := b.server.believes(&x, &r); got != c.believed {
				t.Errorf("%s registers %s: %v, want %v", c.from, c.host, got, c.believed)
			}
		}

		// The refusal is an outcome like others: a late copy that seems to come
		// from there does not take effect.
		request := "@id=" + b.id(0) + " REGISTER room://192.0.2.11:4000 Foyer"
		first := b.ask(request)
		if codeOf(t, first) != foyer.ForeignAddress {
			t.Errorf("got %q", first)
		}
		if got := b.askFrom("192.0.2.11", request); got != first {
			t.Errorf("its copy got %q, want %q", got, first)
		}
		b.expect("LOOKUP Foyer", "NOTOK no room of that name is registered")

		// A key of one's own is no proof, one that the operator has listed is.
		b.expectCode(b.registerSigned(1, "room://192.0.2.11:4000", "Foyer"), foyer.ForeignAddress)
		b.server.AuthorizeOnly([]foyer.Key{foyer.Key(privateKey(1).Public().(ed25519.PublicKey))})
		b.expectCode(b.registerSigned(2, "room://192.0.2.11:4000", "Foyer"), foyer.Unauthorized)
		b.expectCode(string(wire.Sign([]byte("@id="+b.id(0)+";key="+publicKey(1)+" REGISTER room://192.0.2.11:4000 Foyer"), privateKey(2))), foyer.BadSignature)
		b.expectCode(b.registerSigned(1, "room://192.0.2.11:4000", "Foyer"), "OK")
		b.server.AuthorizeOnly(nil)

		b.stop()
		b.any = true
		b.start()
		b.expectCode(b.registerSigned(1, "room://192.0.2.11:4001", "Foyer"), "OK")
		b.expect("REGISTER room://192.0.2.12:4000 Hall", "OK")
	})
}
