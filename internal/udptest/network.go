// Package udptest is an in-memory network for tests: it carries datagrams
// between hosts as UDP does, and loses, repeats, delays and reorders them as
// told.
//
// A [Conn] has the methods of [net.UDPConn] that Foyer's programs use, with the
// same errors, so that the real service and the real client run on it. It has
// no goroutines of its own and waits only on channels and timers: inside a
// bubble of testing/synctest it uses the bubble's fake time, and a blocked read
// is durably blocked.
//
// All randomness comes from the seed. Every pair of socket addresses has its
// own sequence of random numbers in each direction, so that the fate of the
// n-th datagram from one socket to another does not depend on how the scheduler
// interleaves it with others.
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
// unless [Network.SetQueue] says otherwise; further ones are dropped, as by a
// kernel whose receive buffer is full.
const DefaultQueue = 1024

// maxFlight bounds the datagrams in flight to one socket; further ones are
// lost. It is far more than a test's delays can hold, and keeps a runaway
// sender from using up memory.
const maxFlight = 1 << 16

// maxPayload is the most that UDP over IPv4 can carry, in bytes.
const maxPayload = 65507

// Faults says what happens to the datagrams of a link. The zero value delivers
// all of them at once, in order.
type Faults struct {
	Loss      float64 // probability, 0 to 1, that a datagram is lost
	Duplicate float64 // probability that a datagram that is not lost arrives twice
	Reorder   float64 // probability that a datagram is held back, so that later ones overtake it

	// A datagram takes MinDelay to MaxDelay, evenly distributed. Delay alone
	// does not reorder: a datagram waits for the one before it.
	MinDelay, MaxDelay time.Duration

	// Hold is the most by which a reordered datagram is held back beyond its
	// delay; 0 means 20 ms.
	Hold time.Duration
}

// A Filter sees every datagram as it is sent, before other faults, and reports
// whether it may pass. It must not keep or change payload, and must not call
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
	links    map[link]Faults    // individual faults, by pair of hosts; as many as the test sets
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

// chance decides the fate of the datagrams of one stream.
type chance struct {
	rng  *rand.Rand
	last time.Time // when the last one that was not held back is due
}

// New returns a network without faults, with randomness from seed.
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

// SetFaults sets the faults of every link without individual ones, for
// datagrams sent from now on.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// SetLink sets individual faults for the link between two hosts, in one
// direction.
func (n *Network) SetLink(from, to netip.Addr, f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[link{from.Unmap(), to.Unmap()}] = f
}

// ClearLinks removes the individual faults of all links.
func (n *Network) ClearLinks() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
}

// Partition splits the network: a host reaches only hosts of its own group.
// Hosts that are not named form one more group. What is already in flight still
// arrives. A further call replaces the partition.
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

// SetFilter makes f decide which datagrams pass; nil lets all of them pass.
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

// Listen opens a socket at addr, an address of a host of the network; port 0
// allocates one that was not recently in use. Its error is a [*net.OpError],
// wrapping EADDRINUSE if the address is taken.
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
	n.arrive(p, time.Now()) // what was due before found no socket
	p.conn = &Conn{net: n, port: p, addr: addr, limit: n.queue, changed: make(chan struct{})}
	return p.conn, nil
}

// allocate returns the next free port in the range that IANA calls dynamic (RFC
// 6335, section 6). It goes through the whole range before it reuses one, so
// that a late datagram to a closed socket does not reach a new one.
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

// Inject sends a datagram with any source address, as a forger does. The faults
// of the link apply to it.
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
	// The same number of draws for every datagram: one fault does not change
	// the random numbers of others.
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

// settle orders a datagram after the one before it, unless it is held back. On
// a link with delay it arrives at least a nanosecond later: datagrams that
// arrive at the same instant may be handled in any order, and a run on fake
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
// datagram sent to a server that has been restarted meanwhile arrives at the
// new one.
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

// arrive moves what is due into the socket's queue, and drops it if that is
// full or there is no socket. It runs before anything looks at or changes a
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

// streamSeed must be the same in every run.
func streamSeed(s stream) uint64 {
	h := fnv.New64a()
	for _, a := range [...]netip.AddrPort{s.from, s.to} {
		b, _ := a.MarshalBinary() // never fails
		h.Write(b)
	}
	return h.Sum64()
}
