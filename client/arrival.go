package client

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"foyer"
	"foyer/internal/exchange"
	"foyer/internal/udp"
	"foyer/wire"

	"github.com/google/uuid"
)

// An answer is a reply that counts.
type answer struct {
	refusal *foyer.Error  // nil if the registry did what was asked
	text    string        // after OK or NOTOK
	ttl     time.Duration // the lease, or how long to cache; 0 without one
	now     uint64        // the registry's time in Unix milliseconds, 0 for none

	from  netip.AddrPort
	id    uuid.UUID // of the request, in the tagged dialect
	plain bool      // in the plain dialect
	sent  int       // and the request was sent this many times, to any registry
}

// newAnswer copies what is needed from a reply, which is a view into a buffer.
func newAnswer(r *wire.Reply, from netip.AddrPort) answer {
	const most = 1 << 32 // seconds; more would overflow a Duration
	a := answer{text: string(r.Text), ttl: time.Duration(min(r.TTL, most)) * time.Second, now: r.Now, from: from}
	if !r.OK {
		a.refusal = &foyer.Error{Code: foyer.Code(r.Code), Text: a.text}
	}
	return a
}

// An arrival is what a reader passes to a call: an answer, or that a peer
// speaks only the plain dialect.
type arrival struct {
	answer
	onlyPlain bool
}

// arrivals is how many arrivals wait for a call, besides two for each line.
// More are lost, as datagrams may be; the next attempt brings others.
const arrivals = 8

// tookPlain handles a datagram that arrived at the call's plain socket.
func (k *call) tookPlain(datagram []byte, from netip.AddrPort) {
	reply, err := wire.ParseReply(bytes.TrimRight(datagram, "\r\n"))
	k.c.mu.Lock()
	asked := k.plainSent[from] > 0
	sent := 0
	for _, n := range k.plainSent {
		sent += n
	}
	k.c.mu.Unlock()
	if err != nil || reply.Any || !asked {
		k.c.ignored(from)
		return
	}
	a := newAnswer(&reply, from)
	a.plain, a.sent = true, sent
	k.deliver(arrival{answer: a})
}

func (k *call) deliver(a arrival) {
	select {
	case k.arrived <- a:
	default:
	}
}

// read handles what arrives at the Client's socket until it is closed.
func (c *Client) read() {
	c.readFrom(c.conn, func(datagram []byte, from netip.AddrPort) {
		for line := range bytes.Lines(datagram) {
			c.took(bytes.TrimRight(line, "\r\n"), from)
		}
	})
}

// took handles one line from a peer.
func (c *Client) took(line []byte, from netip.AddrPort) {
	reply, err := wire.ParseReply(line)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && reply.Any {
		k := c.calls[reply.UUID]
		if reply.ID == nil || k == nil || !slices.Contains(k.asked, from) {
			c.ignored(from)
			return
		}
		c.dialects.answeredTags(from)
		a := newAnswer(&reply, from)
		a.id = reply.UUID
		k.deliver(arrival{answer: a})
		return
	}
	if len(line) == 0 || line[0] == '@' || !c.dialects.answeredPlain(from, time.Now()) {
		c.ignored(from)
		return
	}
	c.log.Debug("a registry speaks only the plain dialect", "registry", from)
	for id, k := range c.calls {
		if slices.Contains(k.asked, from) {
			k.deliver(arrival{answer: answer{from: from, id: id}, onlyPlain: true})
		}
	}
}

func (c *Client) ignored(from netip.AddrPort) {
	c.log.Debug("a datagram was ignored", "from", from)
}

// readFrom passes datagrams to took until conn is closed. A datagram is valid
// only until took returns.
func (c *Client) readFrom(conn udp.PacketConn, took func(datagram []byte, from netip.AddrPort)) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(exchange.ReadErrorPause)
		default:
			took(buffer[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}
