package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"foyer"
	"foyer/internal/exchange"
	"foyer/wire"
)

// An EventKind says what has happened to a lease.
type EventKind int

// The kinds of events.
const (
	Registered     EventKind = iota + 1 // for the first time
	Silent                              // no registry answers, or none can serve requests
	Answering                           // a registry answers again, and the registration stands
	RegisteredAnew                      // a registry had forgotten the room
	Refused                             // a registry had forgotten the room and refuses to register it
	Replaced                            // the name is registered at another address: the lease is over
)

// String returns the kind as a log would say it.
func (k EventKind) String() string {
	switch k {
	case Registered:
		return "registered"
	case Silent:
		return "registry silent"
	case Answering:
		return "registry answering again"
	case RegisteredAnew:
		return "registered anew"
	case Refused:
		return "registration refused"
	case Replaced:
		return "replaced"
	}
	return fmt.Sprintf("EventKind(%d)", int(k))
}

// An Event is a change in the state of a [Lease].
type Event struct {
	Kind EventKind
	TTL  time.Duration // as granted, 0 for none; of Registered, Answering and RegisteredAnew
	Err  error         // why; of Silent, Refused and Replaced
}

const (
	// checkInterval is how often a registration without a ttl is checked.
	checkInterval = 10 * time.Second

	// minRenewal keeps a registry that grants very short leases from being
	// flooded.
	minRenewal = time.Second

	// silentPause is how long to wait, on top of Timeout, before a silent
	// registry is asked again, and before what one of several has said is asked
	// again if it would end the lease.
	silentPause = time.Second

	// eventBuffer is how many events of a lease wait to be read.
	eventBuffer = 16
)

var errReleased = fmt.Errorf("the lease was released: %w", net.ErrClosed)

// A Lease is a registration that a Client keeps: see [Client.Claim]. Its methods
// may be called at the same time.
type Lease struct {
	c            *Client
	registration Registration
	stop         context.CancelFunc
	events       chan Event
	over         chan struct{} // closed when it is no longer kept
	err          error         // why; set before over is closed

	releasing sync.Mutex
	released  bool
}

// Claim registers a room and keeps it registered. It returns when the
// registration is granted, or with the error of [Client.Register]; ctx applies
// to that only. From then on the lease is kept until [Lease.Release] or
// [Client.Close]: it is renewed every third of its ttl, give or take a tenth,
// the room is registered again if a registry has forgotten it, and silence is
// waited out. A registration without a ttl is looked up every 10 seconds
// instead.
//
// A lease also ends when it is lost: when the name is registered at another
// address, or the registry's operator has evicted it. After any other refusal
// the client keeps trying. With several registries, the loss of the name is
// asked about once more, a second later, because the one that said so may have
// been behind the others.
//
// Client.Close ends leases without deregistering the rooms.
func (c *Client) Claim(ctx context.Context, r Registration) (*Lease, error) {
	ttl, err := c.Register(ctx, r)
	if err != nil {
		return nil, err
	}
	l := &Lease{c: c, registration: r, events: make(chan Event, eventBuffer), over: make(chan struct{})}
	l.tell(Event{Kind: Registered, TTL: ttl})
	ctx, l.stop = context.WithCancel(c.life)
	c.goWhileOpen(func() {
		defer l.stop()
		l.err = l.keep(ctx, ttl)
		close(l.over)
		close(l.events)
	})
	return l, nil
}

// Events returns a channel of what happens to the lease: one event for each
// change of state, not for each renewal. The first is Registered. The channel
// is closed when the lease is over; [Lease.Err] then says why.
//
// Nobody has to read from it. It holds 16 events, and drops the oldest to make
// room, so the last one is always the current state.
func (l *Lease) Events() <-chan Event { return l.events }

// Err returns nil while the lease is kept, and afterwards why it ended: an
// error that is [foyer.ErrReplaced] or [foyer.ErrEvicted] if it was lost,
// [net.ErrClosed] after [Lease.Release] or [Client.Close].
func (l *Lease) Err() error {
	select {
	case <-l.over:
		return l.err
	default:
		return nil
	}
}

// Release ends the lease and deregisters the room, with the errors of
// [Client.Deregister]. After an error it may be called again; otherwise further
// calls return nil. If the lease was lost it returns nil without asking a
// registry, because the name belongs to somebody else.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.over
	if !errors.Is(l.err, net.ErrClosed) {
		return nil
	}
	l.releasing.Lock()
	defer l.releasing.Unlock()
	if l.released {
		return nil
	}
	err := l.c.Deregister(ctx, l.registration.Name, l.registration.Key)
	l.released = err == nil
	return err
}

// tell never blocks: only the lease's goroutine sends.
func (l *Lease) tell(e Event) {
	select {
	case l.events <- e:
		return
	default:
	}
	select {
	case <-l.events: // the oldest, unless it has just been read
	default:
	}
	l.events <- e
}

// keep renews the registration until ctx ends or it is lost.
func (l *Lease) keep(ctx context.Context, ttl time.Duration) error {
	state := Registered
	for {
		l.pause(ctx, ttl, state)
		var e Event
		if ctx.Err() == nil {
			e = l.renew(ctx, ttl)
			if e.Kind == Replaced && l.c.several() && l.wait(ctx, silentPause) {
				if again := l.renew(ctx, ttl); ctx.Err() == nil || again.Kind == Replaced {
					e = again
				}
			}
		}
		switch {
		case e.Kind == Replaced: // first, so that Release does not end the successor's registration
			l.tell(e)
			return e.Err
		case l.c.life.Err() != nil:
			return errClosed
		case ctx.Err() != nil:
			return errReleased
		}
		switch e.Kind {
		case Answering:
			ttl = e.TTL
			if state == Silent || state == Refused {
				l.tell(e)
			}
		case RegisteredAnew:
			ttl = e.TTL
			l.tell(e)
		default: // Silent, Refused
			if state != e.Kind {
				l.tell(e)
			}
			if errors.Is(e.Err, foyer.ErrEvicted) {
				return e.Err
			}
		}
		state = e.Kind
	}
}

// pause waits until the next request is due.
func (l *Lease) pause(ctx context.Context, ttl time.Duration, state EventKind) {
	wait := checkInterval
	if ttl > 0 {
		wait = max(ttl/3, minRenewal)
	}
	if state == Silent {
		wait = min(wait, silentPause)
	}
	l.wait(ctx, l.c.chance.Jitter(wait, 0.1))
}

// wait reports whether ctx did not end meanwhile.
func (l *Lease) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// renew sends one request and returns the resulting state.
func (l *Lease) renew(ctx context.Context, ttl time.Duration) Event {
	granted, err := l.renewOrCheck(ctx, ttl)
	switch {
	case err == nil:
		return Event{Kind: Answering, TTL: granted}
	case errors.Is(err, foyer.ErrReplaced):
		return Event{Kind: Replaced, Err: err}
	case errors.Is(err, foyer.ErrNotOwner):
		return Event{Kind: Replaced, Err: &lostError{err}}
	case !errors.Is(err, foyer.ErrUnknownName):
		return failed(err)
	}
	// Only when the registry says that it does not know the name, not after
	// silence: an earlier attempt whose reply was lost may have succeeded.
	granted, err = l.c.Register(ctx, l.registration)
	switch {
	case err == nil:
		return Event{Kind: RegisteredAnew, TTL: granted}
	case errors.Is(err, foyer.ErrNameTaken), errors.Is(err, foyer.ErrNotOwner):
		// Somebody else has taken the name since this room lost it.
		return Event{Kind: Replaced, Err: &lostError{err}}
	}
	return failed(err)
}

func failed(err error) Event {
	if refusal, ok := errors.AsType[*foyer.Error](err); ok && !refusal.Code.Temporary() {
		return Event{Kind: Refused, Err: err}
	}
	return Event{Kind: Silent, Err: err}
}

func (l *Lease) renewOrCheck(ctx context.Context, ttl time.Duration) (time.Duration, error) {
	if ttl > 0 {
		return l.c.Renew(ctx, l.registration)
	}
	q, err := newQuestion(wire.Renew, l.registration)
	if err != nil {
		return 0, err
	}
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	found, err := l.c.lookup(ctx, l.registration.Name)
	if err != nil {
		return 0, err
	}
	return 0, q.stands(found.Address)
}

// A lostError wraps the refusal which shows that somebody else has the name.
type lostError struct{ refusal error }

func (e *lostError) Error() string { return e.refusal.Error() }

func (e *lostError) Unwrap() error { return e.refusal }

func (e *lostError) Is(target error) bool { return foyer.ErrReplaced.Is(target) }
