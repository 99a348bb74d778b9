package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/wire"
)

// A Server answers requests from a store. Create it with [New], run it with
// [Server.Serve].
type Server struct {
	// Set once.
	store  storage.Store
	log    *slog.Logger
	clock  *clock
	leases *leases

	anyAddress bool

	shares     shares
	limits     *buckets  // of signatures
	quota      *quota    // the writer's
	jobs       sync.Pool // of *job; at most the queues' lengths are in use
	verify     chan *job
	queue      chan *job
	operations chan *operation
	late       chan foyer.Registration
	stopped    chan struct{} // closed when the writer has ended

	// Any goroutine.
	keys    atomic.Pointer[map[foyer.Key]bool] // nil: everybody may register
	failing atomic.Bool                        // the last transaction failed
	writing atomic.Bool                        // the writer has something to do
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
		limits:     newBuckets(verifyRate, verifyBurst),
		quota:      newQuota(o.MaxNamesPerHost),
		anyAddress: o.AnyAddress,
		clock:      newClock(o.SystemClock, store.Last()),
		shares:     newShares(),
		verify:     make(chan *job, verifyQueueLength),
		queue:      make(chan *job, queueLength),
		operations: make(chan *operation),
		late:       make(chan foyer.Registration, lateQueueLength),
		stopped:    make(chan struct{}),
	}
	s.jobs.New = func() any { return new(job) }
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
	close(s.verify)
	verifiers.Wait()
	close(s.queue)
	<-s.stopped
	return errors.Join(append(failures, writeErr)...)
}

// An intake takes datagrams in from one socket. Reader and writer share it, one at
// a time, so that what one peer sends is taken in in the order in which it came.
type intake struct {
	*Server
	conn udp.Conn

	mu        sync.Mutex // guards what follows
	closed    bool       // the server stops: nothing more is taken in
	in        [udp.BatchSize]udp.Datagram
	exchanges [udp.BatchSize]exchange
	out       []udp.Datagram // replies; grows to what a batch leads to

	first lookahead                    // what the datagrams of a batch begin with,
	ahead [lookaheadLength][]lineAhead // by datagram;
	next  lookahead                    // and further lines of one
}

func (s *Server) newIntake(c udp.Conn) *intake {
	t := &intake{Server: s, conn: c}
	for i := range t.in {
		// One byte more than is allowed shows what is too large.
		t.in[i].Data = make([]byte, wire.MaxDatagram+1)
	}
	return t
}

// readLoop receives batches until ctx ends. Then nothing more is taken in, nor by
// the writer: what is in the queues is all that there is to answer.
func (t *intake) readLoop(ctx context.Context) error {
	defer func() {
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
	}()
	for {
		n, err := t.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the socket was closed: %w", err)
		case err != nil:
			t.log.Error("receiving failed", "err", err)
			select { // a failure that stays must not fill the log
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		t.answer(n)
		t.mu.Unlock()
	}
}

// receive waits for a batch, and returns with mu held. Before it sleeps it looks for one for some ten
// microseconds, which cuts the latency of whoever asks one thing after the other
// to a fraction; but not while the writer, which would wait for the processor
// then, has something to do.
func (t *intake) receive() (n int, err error) {
	for range spins {
		if t.writing.Load() {
			break
		}
		t.mu.Lock()
		if n, _ := t.conn.Poll(t.in[:]); n > 0 { // Receive will see an error too
			return n, nil
		}
		t.mu.Unlock()
		runtime.Gosched() // whoever else has work goes first
	}
	return t.conn.Receive(t.in[:], &t.mu)
}

// poll takes in what has arrived, without waiting, and reports whether that was
// anything.
func (t *intake) poll() bool {
	if !t.mu.TryLock() {
		return false // the reader is at it
	}
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	n, _ := t.conn.Poll(t.in[:]) // the reader will see an error too
	t.answer(n)
	return n > 0
}

// answer answers what can be answered from memory of the n datagrams that were
// received, and hands on the rest.
func (t *intake) answer(n int) {
	t.out = t.out[:0]
	for i := range t.in[:n] {
		t.exchanges[i].start(&t.in[i])
	}
	for xs := range slices.Chunk(t.exchanges[:n], lookaheadLength) {
		t.first.readEach(xs, &t.ahead, t.store)
		for i := range xs {
			x := &xs[i]
			if !t.serveFrom(x, t.ahead[i], &t.next, nil) {
				t.handOn(x, &t.next, t.conn) // there are replies if the queues are full
			}
			t.out = x.datagrams(t.out)
		}
	}
	if len(t.out) > 0 {
		_ = t.conn.Send(t.out)
	}
}

// A denial says how a request is refused that cannot be carried out now; nil
// stands for silence, to it and to the lines behind it.
type denial func(*request) *foyer.Error

func denyAll(err *foyer.Error) denial { return func(*request) *foyer.Error { return err } }

// serve carries out the lines of x that need no transaction. It returns false
// when the line that comes next needs one, or a verifier. With deny, lines that
// need a transaction are refused with it instead.
func (s *Server) serve(x *exchange, a *lookahead, deny denial) (done bool) {
	return s.serveFrom(x, a.read(x, s.store), a, deny)
}

// serveFrom is serve for an exchange whose next lines have been read.
func (s *Server) serveFrom(x *exchange, ahead []lineAhead, a *lookahead, deny denial) (done bool) {
	if len(x.in) > wire.MaxDatagram {
		t, _, _ := wire.ParseTags(x.in[:wire.MaxDatagram])
		x.refuse(&t, errTooLarge, 0)
		x.pos = len(x.in)
		return true
	}
	for len(ahead) > 0 {
		for i := range ahead {
			l := &ahead[i]
			x.pos = l.start
			fits, answered := s.fromMemory(x, l)
			if !answered {
				if deny == nil {
					return false
				}
				refusal := deny(&l.request)
				if refusal == nil {
					return true // plain replies are told apart by their order: there must be no gap
				}
				fits = x.refuse(&l.Tags, refusal, 0)
			}
			if !fits {
				return true // neither this line nor the rest is carried out
			}
			x.pos = l.end
		}
		if x.pos == len(x.in) {
			return true
		}
		ahead = a.read(x, s.store)
	}
	return true
}

var errTooLarge = foyer.Errorf(foyer.TooLarge, "the request is longer than %d bytes", wire.MaxDatagram)

// fromMemory answers a line if that can be done without a transaction and
// without checking a signature.
func (s *Server) fromMemory(x *exchange, l *lineAhead) (fits, answered bool) {
	r := &l.request
	switch {
	case l.err != nil:
		return x.unreadable(r, l.err), true
	case r.Verb == wire.Lookup:
		return s.lookup(x, r, l.query), true
	case r.signed() && !x.judged:
		return false, false
	case r.Verb == wire.Renew:
		return s.renew(x, r, l.query)
	case r.Verb == wire.Register && x.forged(r):
		return x.refuse(&r.Tags, errBadSignature, 0), true
	}
	return false, false
}

func (s *Server) lookup(x *exchange, r *request, q *storage.Query) (fits bool) {
	switch {
	case q.Err == nil:
		return x.found(r, &q.Registration)
	case errors.Is(q.Err, foyer.ErrUnknownName):
		return x.refuse(&r.Tags, errUnknown, 0)
	default:
		s.log.Error("a look-up failed", "err", q.Err)
		return x.refuse(&r.Tags, foyer.ErrUnavailable, 0)
	}
}

// renew answers a RENEW from memory, or leaves it to the writer: who wants another
// lease than is granted, or may have done so before.
func (s *Server) renew(x *exchange, r *request, q *storage.Query) (fits, answered bool) {
	reg := &q.Registration
	var refusal *foyer.Error
	switch {
	case errors.Is(q.Err, foyer.ErrUnknownName):
		refusal = errUnknown
	case q.Err != nil:
		return x.refuse(&r.Tags, foyer.ErrUnavailable, 0), true
	default:
		refusal = x.checkRenew(r, reg)
	}
	var asked int64
	if r.signed() || r.recorded() {
		now := s.clock.now()
		switch stale := r.checkTime(now); {
		case r.recorded() && stale != nil:
			return false, false // it may have changed the lease when it was not
		case r.recorded():
			asked = r.idTime()
		case stale != nil:
			return x.reply(r, &decision{err: stale}, now), true
		}
	}
	if r.recorded() && (refusal != nil || grant(r.TTL) != reg.TTL) {
		return false, false
	}
	if refusal != nil {
		return x.refuse(&r.Tags, refusal, 0), true
	}
	d := decision{ttl: reg.TTL}
	before := x.out
	if !x.reply(r, &d, time.Time{}) {
		return false, true
	}
	if reg.TTL == 0 {
		return true, true
	}
	switch s.leases.renew(r.name, reg.Address, s.clock.leaseNow(), asked) {
	case renewed:
		return true, true
	case renewedLate:
		select {
		case s.late <- *reg:
		default: // so many are late that some more make no difference
		}
		return true, true
	}
	x.out = before // the writer knows what has become of it
	return false, false
}

// handOn gives x, which serve could not finish, to whoever can. Where that one
// has too much to do already, it is refused.
func (s *Server) handOn(x *exchange, a *lookahead, c udp.Conn) {
	if !s.shares.take(x.peer.Addr()) {
		s.serve(x, a, busySource)
		return
	}
	j := s.jobs.Get().(*job)
	j.take(x, c)
	select {
	case s.nextStage(&j.exchange) <- j:
		x.out.reset(0) // what was answered so far is sent with the rest
	default:
		s.release(j)
		s.serve(x, a, busyQueue)
	}
}

func (s *Server) nextStage(x *exchange) chan *job {
	if x.judged {
		return s.queue
	}
	// Signed lines are all judged before any later line is carried out, so that
	// the order of the lines stands.
	if x.hasSigned() {
		return s.verify
	}
	return s.queue
}

var (
	busySource = denyAll(&foyer.Error{Code: foyer.Busy, Text: "too many of your requests are waiting; try again"})
	busyQueue  = denyAll(&foyer.Error{Code: foyer.Busy, Text: "too many requests are waiting; try again"})
	busyVerify = denyAll(&foyer.Error{Code: foyer.Busy, Text: "too many signatures from your address; try again"})
)

// A job is an exchange that waits for a verifier or the writer, with memory of
// its own.
type job struct {
	exchange
	conn  udp.Conn
	began replies // what the exchange had when it was queued,
	at    int     // and how far it was, in case it is carried out again
	data  [wire.MaxDatagram]byte
}

func (j *job) take(x *exchange, c udp.Conn) {
	buf := j.out.buf[:0]
	j.in, j.pos = j.data[:copy(j.data[:], x.in)], x.pos
	j.peer, j.local = x.peer, x.local
	j.verdicts, j.judged = j.verdicts[:0], x.judged
	j.out = x.out
	j.out.buf = append(buf, x.out.buf...)
	j.conn = c
	j.save()
}

func (j *job) save() { j.began, j.at = j.out, j.pos }

// rewind undoes what was done since save. Replies are only ever appended, so
// what was there then is there still.
func (j *job) rewind() { j.out, j.pos = j.began, j.at }

// release takes back a job that is answered or refused.
func (s *Server) release(j *job) {
	s.shares.release(j.peer.Addr())
	j.conn = nil
	s.jobs.Put(j)
}

// finish sends a job's replies.
func (s *Server) finish(j *job) {
	var ds [maxSpans]udp.Datagram
	if out := j.datagrams(ds[:0]); len(out) > 0 {
		_ = j.conn.Send(out)
	}
	s.release(j)
}
