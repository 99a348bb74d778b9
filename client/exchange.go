package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"foyer"
	"foyer/internal/exchange"
	"foyer/internal/udp"
	"foyer/wire"

	"github.com/google/uuid"
)

// A call is one datagram of requests: one question, or several of a kind, each
// with its own id. The goroutine that asks owns it, except where noted.
type call struct {
	c       *Client
	open    []*line                    // not yet answered
	done    func(*line, answer, error) // called once for each line that was open
	kind    kind
	peers   []netip.AddrPort // at most maxRegistries, the best first
	tries   []try            // of each of the peers; nil if there is only one
	first   time.Duration    // until the first retry
	arrived chan arrival     // from the readers

	turn        int         // index of whom to ask, modulo len(peers)
	stay        int         // attempts before moving on to the next
	hedging     *time.Timer // when to ask one more of the peers; nil if there is only one
	refused     peerSet     // have refused temporarily since they were last sent to
	sendErr     error       // of the last attempt
	corrections int         // of the clock
	apart       bool        // the lines must be asked one by one

	plainConn udp.PacketConn // nil until it is needed
	plainRead sync.WaitGroup

	// Guarded by Client.mu. No more entries than peers.
	asked     []netip.AddrPort       // tagged, under these ids
	plainSent map[netip.AddrPort]int // attempts in the plain dialect
}

// A line is one question of a call. A retry sends the same bytes.
type line struct {
	question *question
	index    int // of the caller's question
	id       uuid.UUID
	text     []byte // tagged; nil until it is needed

	refusal error   // the last one that was temporary
	unsure  peerSet // have been asked and have not refused since
}

// errCrowded is for a request that waited for others until its time was up.
var errCrowded = errors.New("too many other requests were in flight all the time")

// ask sends q to the registries until there is an answer or ctx, which must end
// after Timeout, is done. Its error is nil, a [*NoAnswerError], ErrNoRegistry,
// [net.ErrClosed], or a refusal with a temporary code; any other refusal is an
// answer.
func (c *Client) ask(ctx context.Context, q *question) (a answer, err error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.life.Done():
		return answer{}, errClosed
	case <-ctx.Done():
		return answer{}, c.noAnswer(ctx, errCrowded)
	}
	c.exchange(ctx, []*line{{question: q}}, func(_ *line, got answer, failed error) { a, err = got, failed })
	return a, err
}

// exchange sends lines, which fit into one datagram, to the registries until
// each has an answer or ctx is done, and calls done for each with what ask
// would return. The lines that it returns instead must be asked one by one,
// because the plain dialect has one question to a datagram. A single line is
// never returned.
func (c *Client) exchange(ctx context.Context, lines []*line, done func(*line, answer, error)) (rest []*line) {
	k := &call{c: c, open: lines, done: done, kind: lines[0].question.kind(), stay: exchange.Patience, arrived: make(chan arrival, arrivals+2*len(lines))}
	var err error
	if k.peers, err = c.peers(ctx); err != nil {
		k.fail(func(*line) error { return err })
		return nil
	}
	c.order(k.peers)
	k.begin()
	defer k.end()

	times := exchange.Schedule{Chance: c.chance}
	k.first = times.Next()
	var hedge <-chan time.Time
	if len(k.peers) > 1 {
		k.tries = make([]try, len(k.peers))
		k.hedging = time.NewTimer(exchange.Timeout)
		defer k.hedging.Stop()
		hedge = k.hedging.C
		defer k.settle()
	}
	k.attempt(ctx)
	timer := time.NewTimer(k.first)
	defer timer.Stop()
	for len(k.open) > 0 && !k.apart {
		select {
		case <-hedge:
			k.hedge(ctx)
		case <-ctx.Done():
			if context.Cause(ctx) == exchange.ErrTimeout {
				c.resolveAnew()
			}
			k.fail(func(l *line) error { return k.failure(ctx, l) })
		case <-c.life.Done():
			k.fail(func(*line) error { return errClosed })
		case <-timer.C:
			k.attempt(ctx)
			timer.Reset(times.Next())
		case got := <-k.arrived:
			k.take(ctx, got)
		}
	}
	return k.open
}

// attempt sends the open lines once, to the first registry to which sending
// succeeds.
func (k *call) attempt(ctx context.Context) {
	if k.stay == 0 {
		k.turn++
	}
	k.stay = max(k.stay-1, 0)
	for range k.peers {
		if k.sendErr = k.send(ctx, k.turn%len(k.peers)); k.sendErr == nil {
			return
		}
		k.turn++
	}
}

// take closes the line that got answers, or reacts to it otherwise.
func (k *call) take(ctx context.Context, got arrival) {
	i := slices.IndexFunc(k.open, func(l *line) bool { return got.plain || l.id == got.id })
	from := slices.Index(k.peers, got.from)
	switch {
	case i < 0: // an id that was given up or answered before
	case got.onlyPlain:
		if k.kind == read || k.onlyAsked(from) { // else another one may be carrying it out, and the attempts come to this one in turn
			k.sendErr = k.send(ctx, from)
		}
	case got.refusal != nil && got.refusal.Code.Temporary():
		k.open[i].refusal = got.refusal
		k.open[i].unsure.remove(from)
		if !k.refused.has(from) { // one datagram may refuse many lines
			k.refused.add(from)
			k.moveOn(ctx, from)
		}
	case got.refusal != nil && got.refusal.Code == foyer.StaleRequest && exchange.IsTime(got.now) && k.corrections < exchange.MaxCorrections:
		// The other lines' ids have the same time.
		k.corrections++
		k.c.setClock(got.now)
		k.end()
		k.begin()
		clear(k.tries) // nobody has been asked by the new ids
		k.sendErr = k.send(ctx, from)
	default:
		l := k.open[i]
		if k.tries != nil && !k.tries[from].answered {
			t := &k.tries[from]
			t.answered, t.took = true, time.Since(t.last)
		}
		k.open = slices.Delete(k.open, i, i+1)
		k.c.answered(l.id, got.from)
		k.done(l, got.answer, nil)
	}
}

// fail closes all lines with an error.
func (k *call) fail(why func(*line) error) {
	open := k.open
	k.forget()
	k.open = nil
	for _, l := range open {
		k.done(l, answer{}, why(l))
	}
}

// failure returns the error for a line that ctx has ended.
func (k *call) failure(ctx context.Context, l *line) error {
	switch {
	case l.refusal != nil && l.unsure == 0:
		return l.refusal
	case l.refusal != nil:
		return k.c.noAnswer(ctx, l.refusal)
	}
	return k.c.noAnswer(ctx, k.sendErr)
}

// setClock adopts the registry's time, in Unix milliseconds.
func (c *Client) setClock(now uint64) {
	ahead := int64(now) - time.Now().UnixMilli()
	c.clock.Store(ahead)
	c.log.Debug("the clock differs from the registry's", "milliseconds", -ahead)
}

// now returns the registry's time, as far as it is known.
func (c *Client) now() time.Time {
	return time.UnixMilli(time.Now().UnixMilli() + c.clock.Load())
}

// noAnswer returns the error for a request that ctx has ended; err is what may
// explain it.
func (c *Client) noAnswer(ctx context.Context, err error) error {
	return &NoAnswerError{Peer: c.names(), Err: exchange.Reason(ctx, err)}
}

// answered records that peer has answered the request with that id.
func (c *Client) answered(id [16]byte, peer netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
	c.preferred = peer
	if c.cache != nil {
		c.cache.silent = time.Time{}
	}
}

// begin gives the lines new ids.
func (k *call) begin() {
	for _, l := range k.open {
		l.id = k.c.chance.ID(k.c.now())
		l.text = nil
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	k.asked = nil
	for _, l := range k.open {
		k.c.calls[l.id] = k
	}
}

// forget unregisters the lines' ids.
func (k *call) forget() {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for _, l := range k.open {
		delete(k.c.calls, l.id)
	}
}

// end forgets the ids and closes the plain socket. It may be called twice.
func (k *call) end() {
	k.forget()
	if k.plainConn != nil {
		k.plainConn.Close()
		k.plainRead.Wait()
		k.plainConn = nil
		<-k.c.plains
	}
}

// isPlain reports whether to ask peer in the plain dialect.
func (c *Client) isPlain(peer netip.AddrPort) bool {
	return c.plain || c.dialects.isPlain(peer, time.Now())
}

// send makes one attempt to peer i, in the dialect that it speaks.
func (k *call) send(ctx context.Context, i int) error {
	c, peer := k.c, k.peers[i]
	for _, l := range k.open {
		l.unsure.add(i)
	}
	k.refused.remove(i)
	c.mu.Lock()
	k.attempted(i)
	plain := c.isPlain(peer)
	if !plain {
		c.dialects.asked(peer)
		if !slices.Contains(k.asked, peer) {
			k.asked = append(k.asked, peer)
		}
	}
	c.mu.Unlock()
	switch {
	case plain && len(k.open) > 1:
		k.apart = true
		return nil
	case plain:
		return k.sendPlain(ctx, peer)
	}
	_, err := c.conn.WriteToUDPAddrPort(k.datagram(), peer)
	return err
}

// datagram returns the open lines as one datagram.
func (k *call) datagram() []byte {
	for _, l := range k.open {
		if l.text == nil {
			l.text = l.question.tagged(l.id)
		}
	}
	if len(k.open) == 1 {
		return k.open[0].text
	}
	datagram := make([]byte, 0, wire.MaxDatagram)
	for i, l := range k.open {
		if i > 0 {
			datagram = append(datagram, '\n')
		}
		datagram = append(datagram, l.text...)
	}
	return datagram
}

func (k *call) sendPlain(ctx context.Context, peer netip.AddrPort) error {
	if k.plainConn == nil {
		select {
		case k.c.plains <- struct{}{}:
		case <-ctx.Done():
			return errCrowded
		case <-k.c.life.Done():
			return errClosed
		}
		conn, err := k.c.listen()
		if err != nil {
			<-k.c.plains
			return err
		}
		k.plainConn = conn
		k.plainRead.Go(func() { k.c.readFrom(conn, k.tookPlain) })
	}
	k.c.mu.Lock()
	if k.plainSent == nil {
		k.plainSent = map[netip.AddrPort]int{}
	}
	k.plainSent[peer]++
	k.c.mu.Unlock()
	_, err := k.plainConn.WriteToUDPAddrPort(k.open[0].question.plain(), peer)
	return err
}
