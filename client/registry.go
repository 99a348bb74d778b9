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

	// TTL is how long the answer may be cached, in whole seconds; 0 means not
	// at all. For a cached answer it is the time left.
	TTL time.Duration

	// Stale says that the answer has outlived its TTL, because no registry
	// answers: see Options.Stale. Its TTL is 0.
	Stale bool
}

// A Registration says where a room listens, and what to ask of the registry.
type Registration struct {
	Name    foyer.Name
	Address foyer.Address

	// TTL is the lease to ask for, rounded up to whole seconds; with 0 the
	// registration stays until it is deregistered. The plain dialect has no
	// leases.
	TTL time.Duration

	// Exits are where the room's exits lead. The plain dialect has none.
	Exits foyer.Exits

	// Key is the owner's private key, or nil. The plain dialect has no owners.
	Key ed25519.PrivateKey
}

// Lookup returns the address of the room called name. Its error is a
// [*foyer.Error], with code unknown-name if there is none, or a
// [*NoAnswerError]. With Options.Cache the answer may come from the cache.
func (c *Client) Lookup(ctx context.Context, name foyer.Name) (Answer, error) {
	if c.cache != nil {
		found := c.cache.lookup(ctx, []foyer.Name{name})[0]
		return found.Answer, found.Err
	}
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	return c.lookup(ctx, name)
}

// lookup asks a registry, ignoring the cache.
func (c *Client) lookup(ctx context.Context, name foyer.Name) (Answer, error) {
	q, err := newQuestion(wire.Lookup, Registration{Name: name})
	if err != nil {
		return Answer{}, err
	}
	a, err := c.ask(ctx, q)
	return found(a, err)
}

// found interprets the answer to a look-up.
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

// refusalAs returns the refusal. One in the plain dialect has no code and gets
// the given one.
func (a *answer) refusalAs(code foyer.Code) error {
	if a.plain {
		return &foyer.Error{Code: code, Text: a.text}
	}
	return a.refusal
}

// Register registers a room and returns the lease granted, 0 for none. With the
// owner's key it replaces the address of a name that the owner holds. Its error
// is a [*foyer.Error] (name-taken, address-taken, not-owner and others) or a
// [*NoAnswerError], after which the room may or may not be registered.
//
// In the plain dialect a retried REGISTER whose first reply was lost is refused
// because of the room's own registration; a look-up then tells this from a name
// that somebody else has.
func (c *Client) Register(ctx context.Context, r Registration) (granted time.Duration, err error) {
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	q, err := newQuestion(wire.Register, r)
	if err != nil {
		return 0, err
	}
	defer c.forget(q.name()) // after silence too: it may have been carried out
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
	case err != nil: // the name is free, so there was another reason
		return 0, a.refusal
	case a.sent > 1 && q.stands(found.Address) == nil:
		return 0, nil
	}
	return 0, a.refusalAs(foyer.NameTaken)
}

// Renew extends the lease of exactly this registration and returns the lease
// granted. Its error is a [*foyer.Error] (unknown-name: register again;
// replaced: the name is registered at another address; and others) or a
// [*NoAnswerError]. In the plain dialect, which has no leases, it looks up
// whether the registration stands, with the same errors.
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

// renewed interprets the answer to a renewal.
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
// [*NoAnswerError], after which the room may or may not be registered.
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
