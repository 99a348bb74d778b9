package client

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"foyer/internal/seam"
	"foyer/internal/udp"
)

// A nowhere is a socket to which nothing comes.
type nowhere struct {
	once   sync.Once
	closed chan struct{}
}

func (n *nowhere) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	<-n.closed
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (n *nowhere) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }
func (n *nowhere) SetReadDeadline(time.Time) error                            { return nil }
func (n *nowhere) LocalAddr() net.Addr                                        { return &net.UDPAddr{} }
func (n *nowhere) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func newOffline(t testing.TB) *Client {
	c, err := New(Options{
		Registries: []string{"192.0.2.2:7666"},
		seam:       seam.Seam{Listen: func() (udp.PacketConn, error) { return &nowhere{closed: make(chan struct{})}, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// FuzzRegistryDatagram: whatever a registry sends, only a reply that bears the
// id counts, and what is kept of it stays within its bounds.
func FuzzRegistryDatagram(f *testing.F) {
	const id = "018f0000-0000-7000-8000-000000000000"
	for _, s := range []string{
		"", "OK", "NOTOK no", "@", "@id=" + id + " OK room://h:1", "@id=" + id + ";code=busy NOTOK busy",
		"@id=" + id + ";ttl=999999999999999999 OK", "@id=" + id + ";code=stale-request;now=999999999999999999 NOTOK",
		"@id=" + id + " OK\n@id=" + id + " OK\r\nOK",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		c := newOffline(t)
		l := &line{}
		k := &call{c: c, open: []*line{l}, arrived: make(chan arrival, arrivals), plainSent: map[netip.AddrPort]int{c.registries[0].addr: 1}}
		k.begin()
		defer k.end()
		c.mu.Lock()
		delete(c.calls, l.id)
		copy(l.id[:], []byte{0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0})
		c.calls[l.id] = k
		k.asked = append(k.asked, c.registries[0].addr)
		c.dialects.asked(c.registries[0].addr)
		c.mu.Unlock()
		for line := range strings.Lines(string(datagram)) {
			c.took([]byte(strings.TrimRight(line, "\r\n")), c.registries[0].addr)
		}
		k.tookPlain(datagram, c.registries[0].addr)
		for range len(k.arrived) {
			got := <-k.arrived
			switch {
			case got.ttl < 0:
				t.Errorf("lease %v", got.ttl)
			case !got.plain && got.id != l.id:
				t.Errorf("took the reply to %v", got.id)
			case got.plain && strings.HasPrefix(string(datagram), "@"):
				t.Errorf("took tags for plain")
			}
		}
	})
}

func newOfflineSession(t testing.TB, c *Client, peer talker) *Session {
	s := &Session{
		c: c, name: "room", conn: &nowhere{closed: make(chan struct{})}, peer: peer,
		turn: make(chan struct{}, 1), messages: make(chan string, messageBuffer), over: make(chan struct{}),
		addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:40001")},
	}
	t.Cleanup(func() { s.conn.Close() })
	return s
}

// FuzzTaggedRoom takes the lines of its input for datagrams of a room. "$" stands
// for "@sid=sid;", without which nothing is an event.
func FuzzTaggedRoom(f *testing.F) {
	for _, s := range []string{
		"", "disconnect", "@ev=1 a", "$ev=1 a\n$ev=2 b\n$ev=1 a", "$ev=1 disconnect\n$ev=2 b", "$ev=64 x\n$ev=65 y\n$ev=66 z",
		"$ev=999999999999999999 x", "$ev=1;ev=2 x", "$ev=1;lost=3 x\n$ev=2;lost=1 disconnect",
		"@id=018f0000-0000-7000-8000-000000000000;code=bad-cookie;cookie=c NOTOK", "@id=018f0000-0000-7000-8000-000000000000 OK",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, datagrams string) {
		peer := &tagged{sid: []byte("sid")}
		s := newOfflineSession(t, newOffline(t), peer)
		told := uint64(0)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending, _ = peer.request(s, "look")
		s.pending.id = [16]byte{0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80}
		gaps := uint64(0)
		for line := range strings.Lines(datagrams) {
			if strings.Contains(line, "lost=") {
				gaps++
			}
			line = strings.ReplaceAll(line, "$", "@sid=sid;")
			if why := peer.took(s, []byte(strings.TrimSuffix(line, "\n")), s.addrs[0]); why != nil {
				s.finish(why)
			}
			if len(peer.early) > eventWindow || peer.told < told {
				t.Fatalf("%d early events, %d told after %d", len(peer.early), peer.told, told)
			}
			told = peer.told
		}
		if told > 0 && !strings.Contains(datagrams, "$") && !strings.Contains(datagrams, "sid=sid") {
			t.Error("what does not bear the sid is told")
		}
		if messages := uint64(len(s.messages)); messages > told+gaps || messages+1 < told && messages < messageBuffer {
			t.Errorf("%d messages of %d events", messages, told)
		}
	})
}

// FuzzPlainRoom takes the datagrams of a plain room for replies or messages.
func FuzzPlainRoom(f *testing.F) {
	for _, s := range [][2]string{
		{"look", "A\n\nb\n\nThe room is empty."}, {"take x", "x taken"}, {"drop x", "x dropped"}, {"say hi", `You said "hi".`},
		{"say", "What did you want to say?"}, {"north", "Great Hall"}, {"up", "You cannot go up from this room."},
		{"exit", "Goodbye"}, {"join A", "A is already here"}, {"look", `B said "x".`}, {"look", "disconnect"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, command, text string) {
		peer := &plain{}
		s := newOfflineSession(t, newOffline(t), peer)
		s.mu.Lock()
		defer s.mu.Unlock()
		for range 2 * maxRecent {
			s.pending, _ = peer.request(s, command)
		}
		why := peer.took(s, []byte(text), s.addrs[0])
		if len(peer.recent) > maxRecent {
			t.Fatalf("%d commands are remembered", len(peer.recent))
		}
		if got := len(s.pending.reply) + len(s.messages); got > 1 || got == 1 && why == ErrDisconnected {
			t.Errorf("%q became %d things", text, got)
		}
		if why == ErrLeft && isRefusal(command, strings.TrimRight(text, "\r\n")) {
			t.Errorf("left by %q", text)
		}
	})
}
