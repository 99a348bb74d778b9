package player_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"foyer"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/player"
)

// TestBadNames: invalid names and addresses are not sent.
func TestBadNames(t *testing.T) {
	var o player.Options
	seam.Player(&o, seam.Seam{Listen: func() (udp.PacketConn, error) {
		t.Error("a socket was opened")
		return nil, net.ErrClosed
	}})
	for _, c := range []struct {
		addr   foyer.Address
		player string
		code   foyer.Code
	}{
		{foyerAt, "\x1b[2J", foyer.BadName},
		{"room://nowhere", "Alice", foyer.BadAddress},
	} {
		_, _, err := player.Join(t.Context(), c.addr, c.player, o)
		if refusal, ok := errors.AsType[*foyer.Error](err); !ok || refusal.Code != c.code {
			t.Errorf("%q at %s: %v", c.player, c.addr, err)
		}
	}
}

func TestNoSocket(t *testing.T) {
	none := errors.New("no sockets left")
	o := player.Options{Plain: true}
	seam.Player(&o, seam.Seam{Listen: func() (udp.PacketConn, error) { return nil, none }})
	if _, _, err := player.Join(t.Context(), foyerAt, "Alice", o); !errors.Is(err, none) {
		t.Error(err)
	}
}

// TestIPv6 joins a room by its IPv6 address.
func TestIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(16)
		r := udptest.Serve(t, n, netip.MustParseAddrPort("[2001:db8::2]:40001"), func(_ netip.AddrPort, line string) []string {
			return []string{udptest.Reply(line, ";sid=x", "OK "+summary)}
		})
		var o player.Options
		seam.Player(&o, seam.Seam{Listen: func() (udp.PacketConn, error) {
			return n.Listen(netip.MustParseAddrPort("[2001:db8::1]:0"))
		}})
		join(t, o, r)
	})
}
