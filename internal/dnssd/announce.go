package dnssd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/time/rate"
)

const (
	// maxPacket is the size of packets that are read: one that fits into an
	// Ethernet frame. Longer ones ask for more than concerns us.
	maxPacket = 1500

	// rescan is how often the interfaces are looked at: networks come and go.
	rescan = 10 * time.Second

	// quiet is how long nothing is multicast again on a link (section 6 of RFC
	// 6762); it bounds multicasts, whoever asks how often.
	quiet = time.Second

	// answerDelay lets one answer do for several questions (section 6).
	answerDelay = 50 * time.Millisecond

	// unicasts and unicastBurst bound unicast answers, a second and at once, in
	// all. Who floods the link can use them up, so that somebody else is not
	// found there and has to be told where the registry is; the registry's own
	// work is not affected.
	unicasts     = 200
	unicastBurst = 100
)

// An Options says what to announce.
type Options struct {
	World  string         // for which CheckWorld is nil
	Listen netip.AddrPort // where the registry listens; beyond loopback
	Log    *slog.Logger
}

// Announce announces a registry on all links until ctx ends, then takes it back.
// It returns at once, with what waits for the end, or with why it cannot announce
// anything. Links that come later are announced on as well.
func Announce(ctx context.Context, o Options) (wait func(), err error) {
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // never fails
	a := &announcer{
		id:      newIdentity(o.World, "foyer-"+hex.EncodeToString(unique[:]), o.Listen.Port()),
		listen:  o.Listen.Addr().Unmap(),
		log:     o.Log,
		queries: make(chan query, 16),
		links:   map[int]*announced{},
		limit:   rate.NewLimiter(unicasts, unicastBurst),
	}
	if a.sockets, err = open(true); err != nil {
		return nil, err
	}
	if err := a.scan(time.Now()); err != nil {
		for _, s := range a.sockets {
			s.Close()
		}
		return nil, err
	}
	// Addresses do not matter for what is asked: that depends on the link.
	questions := a.id.records([]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()})
	var running sync.WaitGroup
	for _, s := range a.sockets {
		running.Go(func() { a.read(ctx, s, questions) })
	}
	running.Go(func() { a.run(ctx) })
	return running.Wait, nil
}

// An announcer answers queries. One goroutine, in run, owns what follows the
// channel.
type announcer struct {
	id      identity
	listen  netip.Addr
	log     *slog.Logger
	sockets []*socket

	queries chan query // from the readers

	links map[int]*announced // by the interface's number; at most maxLinks
	limit *rate.Limiter
}

// An announced is a link with when to multicast there next.
type announced struct {
	link
	addrs []netip.Addr
	due   time.Time // zero for not at all
	last  time.Time
	again bool // once more, a second after the first time (section 8.3)
}

// want has the records multicast at that time, or as soon as is allowed.
func (l *announced) want(at time.Time) {
	if allowed := l.last.Add(quiet); at.Before(allowed) {
		at = allowed
	}
	if l.due.IsZero() || at.Before(l.due) {
		l.due = at
	}
}

// read passes on what concerns us until the socket is closed.
func (a *announcer) read(ctx context.Context, s *socket, ours []dnsmessage.Resource) {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		} else if err != nil { // of a packet that was sent earlier, on some systems
			time.Sleep(time.Millisecond)
			continue
		}
		if q, ok := parseQuery(buf[:n], from, ours); ok {
			q.socket = s
			select {
			case a.queries <- q:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (a *announcer) run(ctx context.Context) {
	ticker := time.NewTicker(rescan)
	defer ticker.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			a.end()
			return
		case <-ticker.C:
			if err := a.scan(time.Now()); err != nil {
				a.log.Debug("the network interfaces cannot be read", "error", err)
			}
		case q := <-a.queries:
			a.answer(&q, time.Now())
		case <-timer.C:
			a.multicastDue(time.Now())
		}
		if next := a.next(); !next.IsZero() {
			timer.Reset(max(0, time.Until(next)))
		}
	}
}

// scan looks which links there are, and announces on those that are new or have
// other addresses.
func (a *announcer) scan(now time.Time) error {
	found, err := links()
	if err != nil {
		return err
	}
	old := a.links
	a.links = map[int]*announced{}
	for _, l := range found {
		addrs := l.addrs(a.listen)
		if len(addrs) == 0 {
			continue
		}
		known := old[l.Index]
		if known == nil || known.Name != l.Name {
			known = &announced{}
		}
		for _, s := range a.sockets { // also where it has: an address of its version may be new
			_ = s.join(&l)
		}
		if !slices.Equal(known.addrs, addrs) {
			known.again = true
			known.want(now)
		}
		known.link, known.addrs = l, addrs
		a.links[l.Index] = known
	}
	return nil
}

func (a *announcer) answer(q *query, now time.Time) {
	for _, l := range a.links {
		if !l.reaches(q.from.Addr()) {
			continue
		}
		if q.rescue || !q.unicast && !q.legacy() {
			l.want(now.Add(answerDelay))
		} else if a.limit.AllowN(now, 1) {
			if packet, err := unicast(a.id.records(l.addrs), q); err == nil {
				_, _ = q.socket.WriteToUDPAddrPort(packet, q.from) // it will ask again
			}
		}
		return
	}
}

func (a *announcer) next() (next time.Time) {
	for _, l := range a.links {
		if !l.due.IsZero() && (next.IsZero() || l.due.Before(next)) {
			next = l.due
		}
	}
	return next
}

func (a *announcer) multicastDue(now time.Time) {
	for _, l := range a.links {
		if l.due.IsZero() || l.due.After(now) {
			continue
		}
		a.multicast(&l.link, a.id.records(l.addrs), ttl)
		l.due, l.last = time.Time{}, now
		if l.again {
			l.again = false
			l.want(now)
		}
	}
}

func (a *announcer) multicast(l *link, records []dnsmessage.Resource, ttl uint32) {
	packet, err := multicast(records, ttl)
	if err != nil {
		a.log.Debug("cannot be announced", "error", err)
		return
	}
	for _, s := range a.sockets {
		if err := s.multicast(l, packet); err != nil { // an interface without addresses of the socket's version
			a.log.Debug("not announced", "interface", l.Name, "error", err)
		}
	}
}

// end says goodbye, but not for the type of service: others may offer it.
func (a *announcer) end() {
	for _, l := range a.links {
		records := a.id.records(l.addrs)
		a.multicast(&l.link, records[:len(records)-1], 0)
	}
	for _, s := range a.sockets {
		s.Close()
	}
}
