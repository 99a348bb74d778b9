package client

import (
	"context"
	"sync"
	"time"

	"foyer"
	"foyer/internal/exchange"
	"foyer/wire"
)

// A Found is the result of [Client.LookupAll] for one name: an answer, or why
// there is none.
type Found struct {
	Answer Answer
	Err    error // as of Lookup
}

// A Renewed is the result of [Client.RenewAll] for one registration: the ttl
// granted, or why it was not renewed.
type Renewed struct {
	TTL time.Duration // as granted, 0 for none
	Err error         // as of Renew
}

// LookupAll looks many names up and returns the results in the order of the
// names. As many requests as fit, about twenty, share a datagram, and at most
// 32 datagrams of a Client wait for replies at a time. Unanswered requests are
// resent as a single one would be, for [Timeout] from when they were first
// sent. LookupAll goes on as long as there are answers, and gives the rest up
// when there has been none for Timeout. ctx can end it earlier.
//
// A registry that speaks only the plain dialect is asked for one name per
// datagram, up to 32 at a time. Apart from the results, memory is bounded by
// what is in flight. With Options.Cache, cached answers are used, as by
// [Client.Lookup].
func (c *Client) LookupAll(ctx context.Context, names []foyer.Name) []Found {
	if c.cache != nil {
		return c.cache.lookup(ctx, names)
	}
	results := make([]Found, len(names))
	c.lookupAll(ctx, names, nil, func(i int, f Found) { results[i] = f })
	return results
}

// lookupAll asks the registries, ignoring the cache, and calls done once for
// each name, from several goroutines. It calls late, unless that is nil, when
// there has been no answer for lateAfter.
func (c *Client) lookupAll(ctx context.Context, names []foyer.Name, late func(), done func(i int, f Found)) {
	b := batch{
		c:        c,
		count:    len(names),
		question: func(i int) (*question, error) { return newQuestion(wire.Lookup, Registration{Name: names[i]}) },
		done: func(l *line, a answer, err error) {
			var f Found
			f.Answer, f.Err = found(a, err)
			done(l.index, f)
		},
		late: late,
	}
	b.run(ctx)
}

// RenewAll renews many registrations and returns the outcomes in their order.
// It works like [Client.LookupAll]; five signed requests fit into a datagram,
// or about ten unsigned ones.
func (c *Client) RenewAll(ctx context.Context, registrations []Registration) []Renewed {
	results := make([]Renewed, len(registrations))
	b := batch{
		c:        c,
		count:    len(registrations),
		question: func(i int) (*question, error) { return newQuestion(wire.Renew, registrations[i]) },
		done: func(l *line, a answer, err error) {
			r := &results[l.index]
			r.TTL, r.Err = c.renewed(l.question, a, err)
		},
	}
	b.run(ctx)
	return results
}

// lateAfter is how long a batch waits for an answer before it calls late: the
// client response timer of RFC 8767, section 5.
const lateAfter = 1800 * time.Millisecond

// A batch is many questions of one kind. One goroutine makes datagrams of them,
// and each datagram in flight has its own goroutine: at most maxFlights per
// Client.
type batch struct {
	c        *Client
	count    int
	question func(i int) (*question, error)
	done     func(*line, answer, error) // once for each, from several goroutines
	late     func()                     // see lookupAll; may be nil

	silence, lateness *time.Timer // since the last answer
}

// run returns once done has been called for each question.
func (b *batch) run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.silence = time.AfterFunc(Timeout, func() { cancel(exchange.ErrTimeout) })
	defer b.silence.Stop()
	if b.late != nil {
		b.lateness = time.AfterFunc(lateAfter, b.late)
		defer b.lateness.Stop()
	}
	var inFlight sync.WaitGroup
	reason := errCrowded
	for lines := range b.datagrams {
		if b.count == 1 {
			b.askEach(ctx, lines)
			return
		}
		slots := b.c.flights
		if ctx.Err() != nil {
			slots = nil // select would choose at random
		}
		select {
		case slots <- struct{}{}:
			reason = nil
			inFlight.Go(func() {
				defer func() { <-b.c.flights }()
				b.askTogether(ctx, lines)
			})
		case <-b.c.life.Done():
			b.fail(lines, errClosed)
		case <-ctx.Done():
			b.fail(lines, b.c.noAnswer(ctx, reason))
		}
	}
	inFlight.Wait()
}

// datagrams yields the questions in order, as many at a time as fit into a
// datagram.
func (b *batch) datagrams(yield func([]*line) bool) {
	var lines []*line
	size := 0 // of the lines and their separators
	for i := range b.count {
		q, err := b.question(i)
		l := &line{question: q, index: i}
		if err != nil {
			b.fail([]*line{l}, err)
			continue
		}
		n := q.size()
		if len(lines) > 0 && size+1+n > wire.MaxDatagram {
			if !yield(lines) {
				return
			}
			lines, size = nil, 0
		}
		if len(lines) > 0 {
			size++
		}
		lines = append(lines, l)
		size += n
	}
	if len(lines) > 0 {
		yield(lines)
	}
}

// askTogether asks with one datagram or, if that is impossible, one by one.
func (b *batch) askTogether(ctx context.Context, lines []*line) {
	own, cancel := exchange.Limit(ctx)
	defer cancel()
	b.askEach(ctx, b.c.exchange(own, lines, b.finish))
}

func (b *batch) askEach(ctx context.Context, lines []*line) {
	for _, l := range lines {
		own, cancel := exchange.Limit(ctx)
		a, err := b.c.ask(own, l.question)
		cancel()
		b.finish(l, a, err)
	}
}

func (b *batch) finish(l *line, a answer, err error) {
	if err == nil {
		b.silence.Reset(Timeout)
		if b.lateness != nil {
			b.lateness.Reset(lateAfter)
		}
	}
	b.done(l, a, err)
}

func (b *batch) fail(lines []*line, err error) {
	for _, l := range lines {
		b.done(l, answer{}, err)
	}
}
