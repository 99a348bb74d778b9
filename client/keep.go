package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"foyer"
	"foyer/wire"
)

// A ChangeKind says what changed about a registration that is kept.
type ChangeKind int

// The kinds of change.
const (
	Registered     ChangeKind = iota + 1 // for the first time
	Silent                               // no registry answers, or none can serve requests
	Answering                            // again, and the registration stands
	RegisteredAnew                       // a registry had forgotten the room
	Refused                              // a registry had forgotten the room and does not take it back
	Replaced                             // the name is registered at another address: Keep ends
)

// String returns the kind as a log would say it.
func (k ChangeKind) String() string {
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
	return fmt.Sprintf("ChangeKind(%d)", int(k))
}

// A Change is what [Client.Keep] tells about.
type Change struct {
	Kind  ChangeKind
	Lease time.Duration // as granted, 0 for none; of Registered, Answering and RegisteredAnew
	Err   error         // why; of Silent, Refused and Replaced
}

const (
	// checkInterval is how often a registration without a lease is checked.
	checkInterval = 10 * time.Second

	// minRenewal keeps a registry that grants next to nothing from being
	// flooded.
	minRenewal = time.Second

	// silentPause is how long to wait, on top of Timeout, before a silent
	// registry is asked again.
	silentPause = time.Second
)

// Keep registers a room and keeps it registered until ctx ends: it renews the
// lease every third of it, give or take a tenth, registers again where the
// registry has forgotten the room, and goes on while the registry is silent. A
// registration without a lease is looked up every 10 seconds instead.
//
// It calls notify, and waits for it, once for each change of state, and not for
// each attempt; a nil notify is not called. If the first registration fails it returns that error
// at once. Otherwise it returns ctx's error, or, when the name has come to be
// registered at another address, an error that is [foyer.ErrReplaced], or, when
// the registry's operator has taken the name off, one that is [foyer.ErrEvicted].
// It leaves
// the registration as it is: see [Client.Deregister].
func (c *Client) Keep(ctx context.Context, r Registration, notify func(Change)) error {
	if notify == nil {
		notify = func(Change) {}
	}
	lease, err := c.Register(ctx, r)
	if err != nil {
		return err
	}
	state := Registered
	notify(Change{Kind: state, Lease: lease})
	for {
		if err := c.pause(ctx, lease, state); err != nil {
			return err
		}
		change := c.renew(ctx, r, lease)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if errors.Is(change.Err, net.ErrClosed) {
			return change.Err
		}
		switch change.Kind {
		case Replaced:
			notify(change)
			return change.Err
		case Answering:
			lease = change.Lease
			if state == Silent || state == Refused {
				notify(change)
			}
		case RegisteredAnew:
			lease = change.Lease
			notify(change)
		default: // Silent, Refused
			if state != change.Kind {
				notify(change)
			}
			if errors.Is(change.Err, foyer.ErrEvicted) {
				return change.Err
			}
		}
		state = change.Kind
	}
}

// pause waits until it is time to ask again.
func (c *Client) pause(ctx context.Context, lease time.Duration, state ChangeKind) error {
	wait := checkInterval
	if lease > 0 {
		wait = max(lease/3, minRenewal)
	}
	if state == Silent {
		wait = min(wait, silentPause)
	}
	t := time.NewTimer(c.chance.jitter(wait, 0.1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.life.Done():
		return errClosed
	case <-t.C:
		return nil
	}
}

// renew asks once and returns the state of the registration.
func (c *Client) renew(ctx context.Context, r Registration, lease time.Duration) Change {
	granted, err := c.renewOrCheck(ctx, r, lease)
	switch {
	case err == nil:
		return Change{Kind: Answering, Lease: granted}
	case errors.Is(err, foyer.ErrReplaced):
		return Change{Kind: Replaced, Err: err}
	case errors.Is(err, foyer.ErrNotOwner):
		return Change{Kind: Replaced, Err: &lostError{err}}
	case !errors.Is(err, foyer.ErrUnknownName):
		return c.failed(err)
	}
	// Not after silence, but only when the registry says that it does not
	// know the name: an earlier attempt whose reply was lost may have done it.
	granted, err = c.Register(ctx, r)
	switch {
	case err == nil:
		return Change{Kind: RegisteredAnew, Lease: granted}
	case errors.Is(err, foyer.ErrNameTaken), errors.Is(err, foyer.ErrNotOwner):
		// Somebody else has the name since this room lost it.
		return Change{Kind: Replaced, Err: &lostError{err}}
	}
	return c.failed(err)
}

func (c *Client) failed(err error) Change {
	if refusal, ok := errors.AsType[*foyer.Error](err); ok && !refusal.Code.Temporary() {
		return Change{Kind: Refused, Err: err}
	}
	return Change{Kind: Silent, Err: err}
}

func (c *Client) renewOrCheck(ctx context.Context, r Registration, lease time.Duration) (time.Duration, error) {
	if lease > 0 {
		return c.Renew(ctx, r)
	}
	q, err := newQuestion(wire.Renew, r)
	if err != nil {
		return 0, err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	found, err := c.lookup(ctx, r.Name)
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
