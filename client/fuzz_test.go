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

// A nowhere is a socket at which nothing arrives.
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

// FuzzRegistryDatagram: whatever a registry sends, only a reply with the id
// counts, and what is kept of it is bounded.
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
