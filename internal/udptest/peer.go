package udptest

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"foyer/wire"
)

// A Peer is one end of a [Network] that answers as a test tells it to.
type Peer struct {
	*Conn
	done chan struct{}

	mu       sync.Mutex
	received []Received
}

// Received is a datagram that a [Peer] got.
type Received struct {
	At   time.Time
	From netip.AddrPort
	Line string
}

// Serve starts a peer at an address of n that calls answer for each datagram,
// one after the other, and sends back what it returns. It ends with the test,
// or by [Peer.Stop].
func Serve(t testing.TB, n *Network, at netip.AddrPort, answer func(from netip.AddrPort, line string) []string) *Peer {
	t.Helper()
	conn, err := n.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{Conn: conn, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			line := string(buffer[:n])
			p.mu.Lock()
			p.received = append(p.received, Received{time.Now(), from, line})
			p.mu.Unlock()
			for _, reply := range answer(from, line) {
				conn.WriteToUDPAddrPort([]byte(reply), from)
			}
		}
	}()
	t.Cleanup(p.Stop)
	return p
}

// Stop closes the socket and waits until answer has returned.
func (p *Peer) Stop() {
	p.Close()
	<-p.done
}

// Received returns what has arrived so far.
func (p *Peer) Received() []Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.received)
}

// Silent is the answer function of a peer that does not answer.
func Silent(netip.AddrPort, string) []string { return nil }

// Reply returns the line that answers request: text, preceded by the request's
// id, if it has one, and extra, which is empty or begins with ";".
func Reply(request, extra, text string) string {
	tags, _, err := wire.ParseTags([]byte(request))
	if err != nil || tags.ID == nil {
		return text
	}
	return "@id=" + string(tags.ID) + extra + " " + text
}
