// Package udptest is a network in memory for tests: it carries datagrams
// between hosts as UDP does, and loses, repeats, delays and reorders them as it
// is told.
//
// A [Conn] has the methods of [net.UDPConn] that Foyer's programs use, with the
// same errors, so that the real service and the real client run on it. It has
// no goroutines of its own and waits only on channels and timers: made inside a
// bubble of testing/synctest it lives on the bubble's fake time, and a blocked
// read blocks durably.
//
// Chance comes from the seed alone. Every pair of socket addresses, in each
// direction, has its own sequence of random numbers, so that the fate of the
// n-th datagram from one socket to another does not depend on how the scheduler
// interleaves them with those of others.
package udptest

import (
	"container/heap"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// DefaultQueue is how many arrived datagrams a socket keeps for its reader
// unless [Network.SetQueue] says otherwise; further ones are dropped, as a
// kernel does when a receive buffer is full.
const DefaultQueue = 1024

// maxFlight bounds the datagrams under way to one socket; further ones are
// lost. It is far beyond what a test's delays can hold, and there to keep a
// runaway sender from eating the memory.
const maxFlight = 1 << 16

// maxPayload is the most that UDP over IPv4 carries, in bytes.
const maxPayload = 65507

// Faults says what happens to the datagrams of a link. The zero value delivers
// each of them at once, in order.
type Faults struct {
	Loss      float64 // probability, 0 to 1, that a datagram is lost
	Duplicate float64 // probability that a datagram which is not lost arrives twice
	Reorder   float64 // probability that a datagram is held back, so that later ones overtake it

	// A datagram takes MinDelay to MaxDelay, evenly distributed. Delay alone
	// does not reorder: a datagram waits for the one before it.
	MinDelay, MaxDelay time.Duration

	// Hold is the most by which a reordered datagram is held back beyond its
	// delay; 0 means 20 ms.
	Hold time.Duration
}

// A Filter sees every datagram as it is sent, before chance does, and reports
// whether it may go on. It must not keep or change payload, and must not call
// the Network.
type Filter func(from, to netip.AddrPort, payload []byte) (pass bool)

// Stats counts what happened to the datagrams so far.
type Stats struct {
	Sent       uint64 // handed to a Conn, or injected
	Lost       uint64 // by chance
	Duplicated uint64 // extra copies made
	Reordered  uint64 // held back
	Blocked    uint64 // stopped by a partition or a filter
	Nowhere    uint64 // sent to where nobody listened
	Overflowed uint64 // found the receiver's queue full
	Delivered  uint64 // handed to a reader
}

// A Network carries datagrams between the sockets that listen on it. Its
// methods may be called at the same time.
type Network struct {
	seed uint64 // set once

	mu       sync.Mutex
	faults   Faults
	links    map[link]Faults    // faults of their own, by pair of hosts; as many as the test sets
	groups   map[netip.Addr]int // of the partition; nil without one
	filter   Filter
	queue    int
	ports    map[netip.AddrPort]*port // as many as were listened at or sent to, for the life of the test
	streams  map[stream]*chance       // as many as pairs of sockets that ever spoke, for the life of the test
	lastPort map[netip.Addr]uint16    // last port allocated on a host
	sequence uint64                   // datagrams sent; orders what is due at the same instant
	stats    Stats
}

type link struct{ from, to netip.Addr }

type stream struct{ from, to netip.AddrPort }

// chance is what decides the fate of the datagrams of one stream.
type chance struct {
	rng  *rand.Rand
	last time.Time // when the last one that kept its place is due
}

// New returns a network without faults whose chance comes from seed.
func New(seed uint64) *Network {
	return &Network{
		seed:     seed,
		links:    map[link]Faults{},
		queue:    DefaultQueue,
		ports:    map[netip.AddrPort]*port{},
		streams:  map[stream]*chance{},
		lastPort: map[netip.Addr]uint16{},
	}
}

// SetFaults sets the faults of every link that has none of its own, for
// datagrams sent from now on.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// SetLink gives the link between two hosts, in one direction, faults of its
// own.
func (n *Network) SetLink(from, to netip.Addr, f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[link{from.Unmap(), to.Unmap()}] = f
}

// ClearLinks takes away the faults that links have of their own.
func (n *Network) ClearLinks() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
}

// Partition splits the network: a host reaches only hosts of its own group.
// The hosts that are not named form one more group. What is already under way
// still arrives. A further call replaces the partition.
func (n *Network) Partition(groups ...[]netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.groups = map[netip.Addr]int{}
	for i, g := range groups {
		for _, host := range g {
			n.groups[host.Unmap()] = i + 1
		}
	}
}

// Heal ends the partition.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.groups = nil
}

// SetFilter makes f decide which datagrams go on; nil lets all of them.
func (n *Network) SetFilter(f Filter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// SetQueue sets how many arrived datagrams a socket keeps for its reader, for
// sockets opened from now on.
func (n *Network) SetQueue(datagrams int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = datagrams
}

// Stats returns what happened so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Listen opens a socket at addr, which names a host of the network by one of
// its addresses; port 0 allocates one that was not in use lately. Its error is
// a [*net.OpError], wrapping EADDRINUSE where the address is taken.
func (n *Network) Listen(addr netip.AddrPort) (*Conn, error) {
	addr = unmap(addr)
	fail := func(err error) (*Conn, error) {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(addr), Err: err}
	}
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		return fail(syscall.EADDRNOTAVAIL)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr.Port() == 0 {
		port, ok := n.allocate(addr.Addr())
		if !ok {
			return fail(syscall.EADDRINUSE)
		}
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	p := n.portAt(addr)
	if p.conn != nil {
		return fail(syscall.EADDRINUSE)
	}
	n.arrive(p, time.Now()) // what was due before found nobody
	p.conn = &Conn{net: n, port: p, addr: addr, limit: n.queue, changed: make(chan struct{})}
	return p.conn, nil
}

// allocate returns the next free port in the range that IANA calls dynamic
// (RFC 6335, section 6). It goes round the whole range before it uses one
// again, so that a late datagram to a closed socket does not find a new one.
func (n *Network) allocate(host netip.Addr) (uint16, bool) {
	const first, last = 49152, 65535
	port := n.lastPort[host]
	for range last - first + 1 {
		if port < first || port == last {
			port = first
		} else {
			port++
		}
		if p := n.ports[netip.AddrPortFrom(host, port)]; p == nil || p.conn == nil {
			n.lastPort[host] = port
			return port, true
		}
	}
	return 0, false
}

// Inject sends a datagram that claims to come from anywhere, as a forger does.
// It meets the faults of the link like any other.
func (n *Network) Inject(from, to netip.AddrPort, payload []byte) {
	n.send(unmap(from), unmap(to), payload)
}

func (n *Network) send(from, to netip.AddrPort, payload []byte) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Sent++
	if n.groups[from.Addr()] != n.groups[to.Addr()] || n.filter != nil && !n.filter(from, to, payload) {
		n.stats.Blocked++
		return
	}
	f, ok := n.links[link{from.Addr(), to.Addr()}]
	if !ok {
		f = n.faults
	}
	c := n.chanceOf(from, to)
	// The same number of draws for every datagram: what one fault does leaves
	// the numbers that the others see alone.
	lost, twice := c.rng.Float64() < f.Loss, c.rng.Float64() < f.Duplicate
	first, second := n.due(c, f, now), n.due(c, f, now)
	if lost {
		n.stats.Lost++
		return
	}
	payload = slices.Clone(payload)
	n.deliver(datagram{from: from, payload: payload, due: n.settle(c, f, first)}, to)
	if twice {
		n.stats.Duplicated++
		n.deliver(datagram{from: from, payload: payload, due: n.settle(c, f, second)}, to)
	}
}

// arrival is when a datagram would arrive, and whether it may overtake or be
// overtaken.
type arrival struct {
	at   time.Time
	held bool
}

func (n *Network) due(c *chance, f Faults, now time.Time) arrival {
	delay := f.MinDelay
	delay += time.Duration(c.rng.Float64() * float64(max(f.MaxDelay-f.MinDelay, 0)))
	hold := f.Hold
	if hold == 0 {
		hold = 20 * time.Millisecond
	}
	a := arrival{at: now.Add(delay)}
	chosen, extra := c.rng.Float64() < f.Reorder, c.rng.Float64()
	if chosen {
		a.held = true
		a.at = a.at.Add(time.Duration(extra * float64(hold)))
	}
	return a
}

// settle gives a datagram its place behind the one before it, unless it is
// held back. On a link with delay it comes a nanosecond later at least: what
// arrives at the same instant may be handled in any order, and a run on fake
// time would not repeat.
func (n *Network) settle(c *chance, f Faults, a arrival) time.Time {
	if a.held {
		n.stats.Reordered++
		return a.at
	}
	if !a.at.After(c.last) {
		a.at = c.last
		if f.MaxDelay > 0 {
			a.at = a.at.Add(1)
		}
	}
	c.last = a.at
	return a.at
}

func (n *Network) chanceOf(from, to netip.AddrPort) *chance {
	s := stream{from, to}
	c := n.streams[s]
	if c == nil {
		c = &chance{rng: rand.New(rand.NewPCG(n.seed, streamSeed(s)))}
		n.streams[s] = c
	}
	return c
}

// A port is one end of the network, whether or not a socket is open there: a
// datagram that was sent to a server which has been restarted meanwhile arrives
// at the new one.
type port struct {
	conn   *Conn  // nil while nobody listens
	flight flight // sent, not yet due; at most maxFlight
}

func (n *Network) portAt(addr netip.AddrPort) *port {
	p := n.ports[addr]
	if p == nil {
		p = &port{}
		n.ports[addr] = p
	}
	return p
}

func (n *Network) deliver(d datagram, to netip.AddrPort) {
	p := n.portAt(to)
	n.arrive(p, time.Now())
	if len(p.flight) >= maxFlight {
		n.stats.Overflowed++
		return
	}
	n.sequence++
	d.sequence = n.sequence
	heap.Push(&p.flight, d)
	if p.conn != nil {
		p.conn.wake()
	}
}

// arrive moves what is due into the socket's queue, and drops what finds it
// full or finds no socket. It runs before whatever changes or looks at a
// queue, so that the queue holds what a kernel's would.
func (n *Network) arrive(p *port, now time.Time) {
	for len(p.flight) > 0 && !p.flight[0].due.After(now) {
		d := heap.Pop(&p.flight).(datagram)
		switch {
		case p.conn == nil:
			n.stats.Nowhere++
		case len(p.conn.arrived) >= p.conn.limit:
			n.stats.Overflowed++
		default:
			p.conn.arrived = append(p.conn.arrived, d)
		}
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// streamSeed is the same in every run, as a seed must be.
func streamSeed(s stream) uint64 {
	h := fnv.New64a()
	for _, a := range [...]netip.AddrPort{s.from, s.to} {
		b, _ := a.MarshalBinary() // never fails
		h.Write(b)
	}
	return h.Sum64()
}
