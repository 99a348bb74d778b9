package player_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"foyer"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/player"
)

var (
	home   = netip.MustParseAddr("192.0.2.1")    // of the player
	office = netip.MustParseAddr("192.0.2.2")    // of rooms and registries
	abroad = netip.MustParseAddr("198.51.100.3") // of others
)

const foyerAt foyer.Address = "room://192.0.2.7:40001"

// options returns the options of a player on n with fixed randomness.
func options(n *udptest.Network) (o player.Options) {
	seam.Player(&o, seam.Seam{
		Listen: func() (udp.PacketConn, error) { return n.Listen(netip.AddrPortFrom(home, 0)) },
		Rand:   rand.NewChaCha8([32]byte{1}),
	})
	return o
}

func plainOptions(n *udptest.Network) player.Options {
	o := options(n)
	o.Plain = true
	return o
}

// serve starts a room, or a registry, that answers with answer.
func serve(t testing.TB, n *udptest.Network, port uint16, answer func(from netip.AddrPort, line string) []string) *udptest.Peer {
	t.Helper()
	return udptest.Serve(t, n, netip.AddrPortFrom(office, port), answer)
}

// A roomPeer is a peer that plays a room.
type roomPeer interface {
	AddrPort() netip.AddrPort
	Received() []udptest.Received
}

func address(t testing.TB, r roomPeer) foyer.Address {
	t.Helper()
	a, err := foyer.ParseAddress("room://" + r.AddrPort().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func join(t testing.TB, o player.Options, r roomPeer) *player.Session {
	t.Helper()
	s, text, err := player.Join(t.Context(), address(t, r), "Alice", o)
	if err != nil {
		t.Fatal(err)
	}
	if text != summary {
		t.Errorf("joined %q", text)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// playerAt returns where the player's datagrams come from.
func playerAt(t testing.TB, r roomPeer) netip.AddrPort {
	t.Helper()
	lines := r.Received()
	if len(lines) == 0 {
		t.Fatal("nobody came")
	}
	return lines[len(lines)-1].From
}

func want(t testing.TB, s *player.Session, command string, ok bool, text string) {
	t.Helper()
	r, err := s.Do(t.Context(), command)
	if err != nil || r.OK != ok || r.Text != text {
		t.Errorf("%s: got %v, %v", command, r, err)
	}
}
