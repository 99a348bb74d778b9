package udp_test

import (
	"net/netip"
	"testing"

	"foyer/internal/udp"
)

func TestHost(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth0", true},
		{"::1", "::2", false},
	} {
		if same := udp.Host(netip.MustParseAddr(c.a)) == udp.Host(netip.MustParseAddr(c.b)); same != c.same {
			t.Errorf("%s and %s are one host: %v", c.a, c.b, same)
		}
	}
	if !udp.Host(netip.MustParseAddr("::1")).IsLoopback() {
		t.Error("::1 is not loopback any more")
	}
}
