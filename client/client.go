// Package client asks registries on behalf of rooms, players and other
// programs: [Client.Lookup], [Client.Register], [Client.Renew],
// [Client.Deregister], and [Client.Claim], which does it all for as long as a
// room runs. Who plays in the rooms that it finds uses package player.
//
// Who has many names uses [Client.LookupAll] and [Client.RenewAll], which put
// as many lines into a datagram as fit; who asks for the same ones often
// sets Options.Cache, and Options.Stale to go on while no registry answers.
//
// UDP loses, repeats and reorders. A request is sent again, the same bytes at
// growing intervals, until its reply has come or [Timeout] is over; it bears an
// id, so that the peer carries it out once however often it arrives, and a
// reply counts only if it comes from an address that was asked and bears that
// id. A refusal is a [*foyer.Error], to be told apart with [errors.Is] and
// [errors.As]; silence is a [*NoAnswerError].
//
// A peer that answers a tagged request without tags speaks only the plain
// dialect, and the client goes on in that. The plain dialect has no ids, so that
// each plain request to a registry is sent from a socket of its own: whatever
// arrives there answers that request and no earlier one. docs/protocol.md is the
// reference for both dialects.
package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"foyer/internal/exchange"
	"foyer/internal/seam"
	"foyer/internal/udp"
)

// Timeout is how long a request waits for its reply, all its retries and, where
// there are several, all registries included. A context can shorten it.
const Timeout = exchange.Timeout

const (
	// maxInFlight bounds the requests of a Client to registries that wait for
	// a reply; further callers wait for their turn.
	maxInFlight = 1024

	// maxFlights bounds the datagrams of several lines (LookupAll, RenewAll) that
	// wait for replies. The replies to one fill two datagrams at most, and all of
	// them fit into the receive buffer that Linux gives a socket by default.
	maxFlights = 32

	// maxPlain bounds the sockets that are open at once for requests in the
	// plain dialect.
	maxPlain = 64

	// maxRegistries bounds Options.Registries.
	maxRegistries = 16
)

// Options say how a Client works.
type Options struct {
	// Registries are the registries to ask, each host:port, at most 16. They
	// are tried in this order, the one that answered last first.
	Registries []string

	// Plain keeps to the plain dialect: no tags are ever sent.
	Plain bool

	// Cache is how many look-ups' answers are kept, each for its TTL; 0 for none.
	// One takes about half a kilobyte. The least recently used one makes room
	// for a new one. That there is no such room is never kept: a registry
	// says for how long an address holds, and nothing of the sort about its
	// absence, and rooms are looked up just when they have been started.
	//
	// Look-ups of one name at the same time become one request. Registering,
	// renewing and deregistering through the same Client makes it forget the
	// name's answer.
	Cache int

	// Stale is for how long beyond its TTL a cached answer is served when no
	// registry answers, or none can serve requests; 0 for not at all. It is as
	// RFC 8767 has it for the DNS: a look-up gets the stale answer after 1.8
	// seconds of silence, is still under way until Timeout is over, and if it
	// fails, further ones get their stale answers at once for 30 seconds, or
	// until a registry has answered anything.
	Stale time.Duration

	// LocalAddr is the IP address of this machine to ask from; registries of the
	// other IP version cannot be reached then. The zero Addr leaves the choice
	// to the system.
	LocalAddr netip.Addr

	// Logger gets, at level debug, what is otherwise invisible: datagrams that
	// were ignored, dialects found out. Nil means nobody.
	Logger *slog.Logger

	seam seam.Seam // of tests
}

func init() {
	seam.Client = func(options any, s seam.Seam) { options.(*Options).seam = s }
}

// A Client asks registries. Its methods may be called at the same time.
type Client struct {
	registries []registry // set once
	plain      bool       // set once
	listen     func() (udp.PacketConn, error)
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
	cache     *cache             // nil for none; set once, its content is guarded too
}

// New returns a Client with a socket and one goroutine that reads from it, both
// of which [Client.Close] ends. Its error says which registry is not of the
// form host:port, or that there is no socket to be had.
func New(o Options) (*Client, error) {
	if len(o.Registries) > maxRegistries {
		return nil, fmt.Errorf("%d registries are more than %d", len(o.Registries), maxRegistries)
	}
	c := &Client{
		plain:     o.Plain,
		listen:    o.seam.Listen,
		log:       o.Logger,
		chance:    exchange.NewChance(o.seam.Rand),
		slots:     make(chan struct{}, maxInFlight),
		flights:   make(chan struct{}, maxFlights),
		plains:    make(chan struct{}, maxPlain),
		calls:     map[[16]byte]*call{},
		dialects:  dialects{},
		addresses: resolutions{},
	}
	c.life, c.end = context.WithCancel(context.Background())
	if o.Cache < 0 || o.Stale < 0 {
		return nil, fmt.Errorf("a cache of %d answers that are served for %v is less than nothing", o.Cache, o.Stale)
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

// Close ends the requests to registries that are in flight, look-ups in the
// DNS included, with [net.ErrClosed], the Client's goroutine, and its leases,
// whose rooms it does not deregister.
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

// parsePort reads a port number from 1 to 65535.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// goWhileOpen runs f in a goroutine that Close waits for. When the Client is
// closed f runs all the same, and fails.
func (c *Client) goWhileOpen(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		go f()
		return
	}
	c.running.Go(f)
}
