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

// An EventKind says what has become of a registration that is kept.
type EventKind int

// The kinds of events.
const (
	Registered     EventKind = iota + 1 // for the first time
	Silent                              // no registry answers, or none can serve requests
	Answering                           // again, and the registration stands
	RegisteredAnew                      // a registry had forgotten the room
	Refused                             // a registry had forgotten the room and does not take it back
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

// An Event is a change of state of a [Lease].
type Event struct {
	Kind EventKind
	TTL  time.Duration // as granted, 0 for none; of Registered, Answering and RegisteredAnew
	Err  error         // why; of Silent, Refused and Replaced
}

const (
	// checkInterval is how often a registration without a ttl is checked.
	checkInterval = 10 * time.Second

	// minRenewal keeps a registry that grants next to nothing from being
	// flooded.
	minRenewal = time.Second

	// silentPause is how long to wait, on top of Timeout, before a silent
	// registry is asked again.
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
	over         chan struct{} // closed when it is kept no more
	err          error         // why; written before over is closed

	releasing sync.Mutex
	released  bool
}

// Claim registers a room and keeps it registered. It returns when the
// registration is granted, or with the error of [Client.Register]; ctx bounds
// that and nothing else. From then on the lease is kept until [Lease.Release] or
// [Client.Close]: it is renewed every third of its ttl, give or take a tenth,
// the room is registered again where a registry has forgotten it, and silence is
// waited out. A registration without a ttl is looked up every 10 seconds instead.
//
// A lease also ends when it is lost: when the name has come to be registered at
// another address, or the registry's operator has taken it off. What else a
// registry may refuse is asked for again.
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

// Events returns the channel of what becomes of the lease: one event for each
// change of state, and not for each renewal, the first of which is Registered.
// It is closed when the lease is over; [Lease.Err] then says why.
//
// Nobody needs to read from it. It holds 16 events; where there are more the
// oldest are dropped, so that the last one always says how things are.
func (l *Lease) Events() <-chan Event { return l.events }

// Err returns nil while the lease is kept, and then why it is not any more: an
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
// calls return nil, as it does without asking anybody if the lease was lost: the
// name is somebody else's then.
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

// tell never waits: only the lease's goroutine sends.
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
		}
		switch {
		case e.Kind == Replaced: // first, lest Release ends the successor's registration
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

// pause waits until it is time to ask again.
func (l *Lease) pause(ctx context.Context, ttl time.Duration, state EventKind) {
	wait := checkInterval
	if ttl > 0 {
		wait = max(ttl/3, minRenewal)
	}
	if state == Silent {
		wait = min(wait, silentPause)
	}
	t := time.NewTimer(l.c.chance.Jitter(wait, 0.1))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// renew asks once and returns the state of the registration.
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
	// Not after silence, but only when the registry says that it does not
	// know the name: an earlier attempt whose reply was lost may have done it.
	granted, err = l.c.Register(ctx, l.registration)
	switch {
	case err == nil:
		return Event{Kind: RegisteredAnew, TTL: granted}
	case errors.Is(err, foyer.ErrNameTaken), errors.Is(err, foyer.ErrNotOwner):
		// Somebody else has the name since this room lost it.
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

// A lostError is the refusal that shows that somebody else has the name.
type lostError struct{ refusal error }

func (e *lostError) Error() string { return e.refusal.Error() }

func (e *lostError) Unwrap() error { return e.refusal }

func (e *lostError) Is(target error) bool { return foyer.ErrReplaced.Is(target) }
