package discovery

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
)

// A Server answers requests from a store. Create it with [New], run it with
// [Server.Serve].
type Server struct {
	// Set once.
	store  storage.Store
	log    *slog.Logger
	clock  *clock
	leases *leases
	began  time.Time

	anyAddress bool

	shares     shares
	signatures *buckets  // that each source may still have checked
	quota      *quota    // the writer's
	exchanges  sync.Pool // of *exchange; what bounds the queues bounds those in use
	toVerify   chan *exchange
	toWrite    chan *exchange
	operations chan *operation
	late       chan foyer.Registration
	restored   int64         // when the store was, in Unix milliseconds; the writer's
	stopped    chan struct{} // closed when the writer has ended

	// Any goroutine.
	feed    feed
	keys    atomic.Pointer[map[foyer.Key]bool] // nil: everybody may register
	failing atomic.Bool                        // the last transaction failed
	writing atomic.Bool                        // the writer has something to do

	// What Stats sums up.
	metersMu sync.Mutex
	meters   []*meter
	commits  commits
	holds    heldNames
	dropped  [len(dropReasons)]atomic.Uint64
}

// Options are what a Server may be told. The zero value is a sensible server.
type Options struct {
	// Log gets what operators should know; nil discards it.
	Log *slog.Logger

	// SystemClock is the wall clock, [time.Now] if nil.
	SystemClock func() time.Time

	// AnyAddress lets everybody register IP addresses of others. Otherwise a
	// host can register its own only, unless it is this machine or the key is
	// one that the registry is closed to others for, see [Server.AuthorizeOnly].
	AnyAddress bool

	// MaxNamesPerHost is the most names that a host, an IPv4 address or 64 bits
	// of an IPv6 one, may have registered at a time; DefaultMaxNamesPerHost if
	// it is 0. Loopback addresses and authorized keys are not bound by it.
	MaxNamesPerHost int
}

// DefaultMaxNamesPerHost is one name for every four ports of a host.
const DefaultMaxNamesPerHost = 16384

// New returns a Server on store, which must not be changed by anybody else and
// is not closed by the Server.
func New(store storage.Store, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SystemClock == nil {
		o.SystemClock = time.Now
	}
	if o.MaxNamesPerHost == 0 {
		o.MaxNamesPerHost = DefaultMaxNamesPerHost
	}
	s := &Server{
		store:      store,
		log:        o.Log,
		began:      time.Now(),
		signatures: newBuckets(verifyRate, verifyBurst),
		quota:      newQuota(o.MaxNamesPerHost),
		anyAddress: o.AnyAddress,
		clock:      newClock(o.SystemClock, store.Last()),
		shares:     newShares(),
		toVerify:   make(chan *exchange, verifyQueueLength),
		toWrite:    make(chan *exchange, queueLength),
		operations: make(chan *operation),
		late:       make(chan foyer.Registration, lateQueueLength),
		stopped:    make(chan struct{}),
	}
	s.feed.commits = make(chan struct{}, 1)
	s.exchanges.New = func() any { return new(exchange) }
	s.leases = newLeases(s.clock.leaseNow())
	return s
}

// AuthorizeOnly closes the registry to registrations that are not signed with
// one of keys; nil opens it to everybody. What is registered stays.
func (s *Server) AuthorizeOnly(keys []foyer.Key) {
	if keys == nil {
		s.keys.Store(nil)
		return
	}
	set := make(map[foyer.Key]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	s.keys.Store(&set)
}

func (s *Server) authorized(k foyer.Key) bool {
	set := s.keys.Load()
	return set == nil || (*set)[k]
}

// Now returns the time by the registry's clock, which never runs backwards.
func (s *Server) Now() time.Time { return s.clock.now() }

// since returns the time since the Server was made, by the monotonic clock. It costs
// half of what time.Now does.
func (s *Server) since() time.Duration { return time.Since(s.began) }

// Healthy reports whether the last transaction could be written.
func (s *Server) Healthy() bool { return !s.failing.Load() }

// Serve answers the requests that arrive on conns until ctx ends. Then it stops
// reading, answers what it has taken in, and returns nil; it does not close
// conns. It returns an error, in the same orderly way, if a socket fails for
// good, or the store cannot be read. It can be called once.
func (s *Server) Serve(ctx context.Context, conns ...udp.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var readers, verifiers sync.WaitGroup
	failures := make([]error, len(conns))
	intakes := make([]*intake, len(conns))
	for i, c := range conns {
		intakes[i] = s.newIntake(c)
		readers.Go(func() {
			failures[i] = intakes[i].readLoop(ctx)
			cancel()
		})
	}
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		verifiers.Go(s.verifyLoop)
	}
	var writeErr error
	go func() {
		defer close(s.stopped)
		writeErr = s.writeLoop(cancel, intakes)
	}()

	<-ctx.Done()
	// In this order: no more reading, then nothing more to verify, then nothing
	// more to write. Each stage answers what it holds before the next one ends.
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
	readers.Wait()
	close(s.toVerify)
	verifiers.Wait()
	close(s.toWrite)
	<-s.stopped
	return errors.Join(append(failures, writeErr)...)
}
