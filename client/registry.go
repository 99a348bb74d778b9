package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"foyer"
	"foyer/internal/exchange"
	"foyer/wire"
)

// An Answer is what a registry knows about a name.
type Answer struct {
	Address foyer.Address

	// TTL is for how long the answer may be cached, in whole seconds; 0 means
	// not at all. Of an answer that has been cached it is what is left.
	TTL time.Duration

	// Stale says that the answer is older than it may be, because no registry
	// answers: see Options.Stale. Its TTL is 0.
	Stale bool
}

// A Registration says where a room listens, and what its registry is asked
// for.
type Registration struct {
	Name    foyer.Name
	Address foyer.Address

	// TTL is the lease to ask for, rounded up to whole seconds; 0 asks for
	// none, so that the registration stays until it is ended. The plain
	// dialect has no leases.
	TTL time.Duration

	// Key is the owner's private key, or nil. The plain dialect has no owners.
	Key ed25519.PrivateKey
}

// Lookup returns the address of the room called name. Its error is a
// [*foyer.Error], of code unknown-name if there is none, or a [*NoAnswerError].
// With Options.Cache the answer may be one that the Client already has.
func (c *Client) Lookup(ctx context.Context, name foyer.Name) (Answer, error) {
	if c.cache != nil {
		found := c.cache.lookup(ctx, []foyer.Name{name})[0]
		return found.Answer, found.Err
	}
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	return c.lookup(ctx, name)
}

// lookup asks a registry, whatever is cached.
func (c *Client) lookup(ctx context.Context, name foyer.Name) (Answer, error) {
	q, err := newQuestion(wire.Lookup, Registration{Name: name})
	if err != nil {
		return Answer{}, err
	}
	a, err := c.ask(ctx, q)
	return found(a, err)
}

// found reads the answer to a look-up.
func found(a answer, err error) (Answer, error) {
	if err != nil {
		return Answer{}, err
	}
	if a.refusal != nil {
		return Answer{}, a.refusalAs(foyer.UnknownName)
	}
	addr, err := foyer.ParseAddress(a.text)
	if err != nil {
		return Answer{}, fmt.Errorf("registry %v answered with an address that cannot be read: %w", a.from, err)
	}
	return Answer{Address: addr, TTL: a.ttl}, nil
}

// refusalAs returns the refusal. One that came in the plain dialect has no code,
// and gets the one given.
func (a *answer) refusalAs(code foyer.Code) error {
	if a.plain {
		return &foyer.Error{Code: code, Text: a.text}
	}
	return a.refusal
}

// Register registers a room and returns the lease that was granted, 0 if it has
// none. With the owner's key it replaces the address of a name that the owner
// holds. Its error is a [*foyer.Error] (name-taken, address-taken, not-owner and
// others) or a [*NoAnswerError], after which the room may be registered or not.
//
// In the plain dialect a retried REGISTER whose first reply was lost is refused
// by the room's own registration; a look-up then tells that from a name which
// somebody else has.
func (c *Client) Register(ctx context.Context, r Registration) (granted time.Duration, err error) {
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	q, err := newQuestion(wire.Register, r)
	if err != nil {
		return 0, err
	}
	defer c.forget(q.name()) // after silence, too: it may have been carried out
	a, err := c.ask(ctx, q)
	if err != nil {
		return 0, err
	}
	if a.refusal == nil {
		return a.ttl, nil
	}
	if !a.plain {
		return 0, a.refusal
	}
	found, err := c.lookup(ctx, r.Name)
	switch {
	case a.sent > 1 && errors.Is(err, ErrNoAnswer):
		return 0, err
	case err != nil: // the name is free, so the refusal has another reason
		return 0, a.refusal
	case a.sent > 1 && q.stands(found.Address) == nil:
		return 0, nil
	}
	return 0, a.refusalAs(foyer.NameTaken)
}

// Renew extends the lease of exactly this registration and returns what was
// granted. Its error is a [*foyer.Error] (unknown-name: register again;
// replaced: the name is registered at another address; and others) or a
// [*NoAnswerError]. The plain dialect has no leases: there it asks whether the
// registration stands, with the same errors.
func (c *Client) Renew(ctx context.Context, r Registration) (granted time.Duration, err error) {
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	q, err := newQuestion(wire.Renew, r)
	if err != nil {
		return 0, err
	}
	a, err := c.ask(ctx, q)
	return c.renewed(q, a, err)
}

// renewed reads the answer to a renewal.
func (c *Client) renewed(q *question, a answer, err error) (granted time.Duration, _ error) {
	if err != nil {
		return 0, err
	}
	c.forget(q.name())
	switch {
	case a.refusal != nil:
		return 0, a.refusalAs(foyer.UnknownName)
	case !a.plain:
		return a.ttl, nil
	}
	at, err := found(a, nil)
	if err != nil {
		return 0, err
	}
	return 0, q.stands(at.Address)
}

// Deregister ends the registration of name; key is the owner's, or nil. Its
// error is a [*foyer.Error] (unknown-name, not-owner and others) or a
// [*NoAnswerError], after which the room may be registered or not.
func (c *Client) Deregister(ctx context.Context, name foyer.Name, key ed25519.PrivateKey) error {
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	q, err := newQuestion(wire.Deregister, Registration{Name: name, Key: key})
	if err != nil {
		return err
	}
	defer c.forget(q.name())
	a, err := c.ask(ctx, q)
	if err != nil {
		return err
	}
	switch {
	case a.refusal == nil:
		return nil
	case !a.plain:
		return a.refusal
	}
	_, err = c.lookup(ctx, name)
	switch gone := errors.Is(err, foyer.ErrUnknownName); {
	case a.sent > 1 && errors.Is(err, ErrNoAnswer):
		return err
	case gone && a.sent > 1: // by an attempt whose reply was lost
		return nil
	case gone:
		return a.refusalAs(foyer.UnknownName)
	}
	return a.refusal
}
