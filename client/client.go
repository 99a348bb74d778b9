// Package client asks registries on behalf of rooms, players and other
// programs: [Client.Lookup], [Client.Register], [Client.Renew],
// [Client.Deregister], and [Client.Claim], which does all of that for as long
// as a room runs. To play in the rooms that it finds, use package player.
//
// For many names, [Client.LookupAll] and [Client.RenewAll] put as many lines
// into a datagram as fit. For names that are looked up often, set
// Options.Cache, and Options.Stale to carry on while no registry answers.
//
// UDP loses, repeats and reorders. A request is sent again, the same bytes at
// growing intervals, until its reply arrives or [Timeout] is over; to several
// registries, if there are several and the first one is late. It has an
// id, so that the peer carries it out once however often it arrives, and a
// reply counts only if it comes from an address that was asked and has that id.
// A refusal is a [*foyer.Error], which [errors.Is] compares with the sentinels
// of package foyer; silence is a [*NoAnswerError].
//
// A peer that answers a tagged request without tags speaks only the plain
// dialect, and the client switches to that. It has no ids, so each plain
// request to a registry is sent from its own socket: whatever arrives there
// answers that request and no earlier one. docs/protocol.md is the reference
// for both dialects.
package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"foyer/internal/exchange"
	"foyer/internal/seam"
	"foyer/internal/udp"
)

// Timeout is how long a request waits for its reply, including all retries and,
// if there are several, all registries. A context can shorten it.
const Timeout = exchange.Timeout

const (
	// maxInFlight bounds the requests of a Client that wait for a reply;
	// further callers wait for their turn.
	maxInFlight = 1024

	// maxFlights bounds the datagrams of several lines (LookupAll, RenewAll)
	// that wait for replies. The replies to one fill at most two datagrams, and
	// all of them together fit into Linux's default receive buffer.
	maxFlights = 32

	// maxPlain bounds the sockets open at once for requests in the plain
	// dialect.
	maxPlain = 64

	// maxRegistries bounds Options.Registries, and also the addresses that their
	// names have altogether.
	maxRegistries = exchange.MaxRegistries
)

// Options configure a Client.
type Options struct {
	// Registries are the registries to ask, each host:port, at most 16: any
	// number of equal ones, of one world. Each address of a host that is given by
	// name counts as a registry; the first 16 are asked, the first one of each
	// name before the second one of any. A request goes to the one that has
	// answered best lately, at first in this order, and to the next one if that
	// takes longer than usual: docs/protocol.md, "Several registries".
	Registries []string

	// Plain uses the plain dialect only: no tags are ever sent.
	Plain bool

	// Cache is how many answers to look-ups are kept, each for its TTL; 0 for
	// none. An answer takes about half a kilobyte, and the least recently used
	// one is evicted. That a name is unknown is never cached: registries give
	// no TTL for that, and rooms are often looked up just when they are being
	// started.
	//
	// Concurrent look-ups of one name become one request. Registering, renewing
	// or deregistering a name through the same Client drops its answer.
	Cache int

	// Stale is for how long beyond its TTL a cached answer is served when no
	// registry answers, or none can serve requests; 0 for not at all. It works
	// as RFC 8767 does for the DNS: a look-up returns the stale answer after
	// 1.8 seconds of silence, while the request goes on until Timeout; if that
	// fails, further look-ups get their stale answers at once for 30 seconds,
	// or until a registry answers anything.
	Stale time.Duration

	// LocalAddr is the IP address of this machine to send from; registries of
	// the other IP version are then unreachable. The zero Addr leaves the
	// choice to the system.
	LocalAddr netip.Addr

	// Logger gets, at level debug, what is otherwise invisible: ignored
	// datagrams and the dialects of registries. Nil discards it.
	Logger *slog.Logger

	seam seam.Seam // for tests
}

func init() {
	seam.Client = func(options any, s seam.Seam) { options.(*Options).seam = s }
}

// A Client asks registries. Its methods may be called at the same time.
type Client struct {
	registries []registry // set once
	plain      bool       // set once
	listen     func() (udp.PacketConn, error)
	resolver   func(ctx context.Context, host string) ([]netip.Addr, error) // nil for the system's
	log        *slog.Logger
	chance     *exchange.Chance

	conn    udp.PacketConn  // for tagged requests to registries
	slots   chan struct{}   // one element for each request in flight
	flights chan struct{}   // one element for each datagram of several lines in flight
	plains  chan struct{}   // one element for each plain socket
	life    context.Context // until Close
	end     context.CancelFunc
	running sync.WaitGroup // the reader, the cache's look-ups, and leases

	clock atomic.Int64 // what to add to our time to get the registry's, in milliseconds

	mu        sync.Mutex
	calls     map[[16]byte]*call // in flight, by id; at most maxInFlight, and the lines of maxFlights datagrams
	dialects  dialects           // of the registries that were asked
	addresses resolutions        // of the registries that are given by name
	preferred netip.AddrPort     // the registry that answered last
	health    healths            // of registries, if there are several
	cache     *cache             // nil for none; set once, its content is guarded too
}

// New returns a Client with a socket and one goroutine that reads from it, both
// of which [Client.Close] ends. Its error says which registry is not of the
// form host:port, or why no socket could be opened.
func New(o Options) (*Client, error) {
	if len(o.Registries) > maxRegistries {
		return nil, fmt.Errorf("%d registries are more than %d", len(o.Registries), maxRegistries)
	}
	c := &Client{
		plain:     o.Plain,
		listen:    o.seam.Listen,
		resolver:  o.seam.Resolve,
		log:       o.Logger,
		chance:    exchange.NewChance(o.seam.Rand),
		slots:     make(chan struct{}, maxInFlight),
		flights:   make(chan struct{}, maxFlights),
		plains:    make(chan struct{}, maxPlain),
		calls:     map[[16]byte]*call{},
		dialects:  dialects{},
		addresses: resolutions{},
		health:    healths{},
	}
	c.life, c.end = context.WithCancel(context.Background())
	if o.Cache < 0 || o.Stale < 0 {
		return nil, fmt.Errorf("the options Cache (%d) and Stale (%v) must not be negative", o.Cache, o.Stale)
	}
	if o.Cache > 0 {
		c.cache = newCache(c, o.Cache, o.Stale)
	}
	for _, s := range o.Registries {
		r, err := parseRegistry(s)
		if err != nil {
			return nil, err
		}
		c.registries = append(c.registries, r)
	}
	if c.listen == nil {
		c.listen = func() (udp.PacketConn, error) {
			return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.LocalAddr, 0)))
		}
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if c.conn, err = c.listen(); err != nil {
		return nil, fmt.Errorf("cannot open a socket: %w", err)
	}
	c.running.Go(c.read)
	return c, nil
}

// Close ends requests in flight, including DNS look-ups, with [net.ErrClosed],
// and the Client's goroutine and leases. It does not deregister the rooms of
// the leases.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.life.Err() != nil {
		c.mu.Unlock()
		return errClosed
	}
	c.end()
	c.mu.Unlock()
	err := c.conn.Close()
	c.running.Wait()
	return err
}

// goWhileOpen runs f in a goroutine that Close waits for. After Close it still
// runs f, which then fails.
func (c *Client) goWhileOpen(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		go f()
		return
	}
	c.running.Go(f)
}
