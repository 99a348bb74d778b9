package room

import (
	"net/netip"
	"time"

	"foyer/internal/udp"
	"foyer/wire"
)

const (
	// hostRate and hostBurst are what the plain players of a host may be sent
	// in addition to three times what came from them, in bytes a second and
	// bytes. A room full of talk needs less, and it is too little to hurt a
	// victim of forged addresses. All strangers together get no more than that
	// either.
	hostRate  = 32 << 10
	hostBurst = 4 * hostRate

	// talkRate and talkBurst are how many messages of one player the others are
	// told, a second and at once: more than anybody types. The players of a
	// host have twice that together, counted separately for each dialect, so
	// that forged source addresses, which are possible in the plain one, take
	// nothing from tagged players.
	talkRate      = 10
	talkBurst     = 60
	hostTalkRate  = 2 * talkRate
	hostTalkBurst = 2 * talkBurst

	// ownRate and ownBurst are a player's own share, which others on their host
	// cannot use up: only what they say beyond it counts against the host. It
	// is empty when they join, so that coming and going gains nothing.
	ownRate  = 1
	ownBurst = 5

	// hostJoinRate and hostJoinBurst are how many players of a host may join in
	// one dialect, a second and at once: all of them at once.
	hostJoinRate  = 20
	hostJoinBurst = maxPerHost

	// maxHosts bounds each table of hosts. When it is full of hosts heard from
	// within the last few seconds, the others share one bucket. Only hosts of
	// players get into a table, and there are fewer players.
	maxHosts = 4096
)

// bucket is a token bucket. golang.org/x/time/rate has none that can be
// credited, which is needed because what a player sends is credited to their
// host: Reservation.Cancel returns only what that reservation took.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was computed
}

// refill brings the bucket to the present.
func (b *bucket) refill(now time.Time, rate, burst float64) {
	if passed := now.Sub(b.at); b.at.IsZero() {
		b.tokens = burst
	} else if passed > 0 {
		b.tokens = min(burst, b.tokens+passed.Seconds()*rate)
	}
	b.at = now
}

// budgets are a token bucket for each host.
type budgets struct {
	rate, burst float64
	hosts       map[netip.Addr]*bucket // bounded by maxHosts
	shared      bucket
	swept       time.Time
}

// earn credits a host.
func (b *budgets) earn(now time.Time, host netip.Addr, tokens float64) {
	k, burst := b.of(now, host)
	k.tokens = min(burst, k.tokens+tokens)
}

// has reports whether a host has that many tokens.
func (b *budgets) has(now time.Time, host netip.Addr, tokens float64) bool {
	k, _ := b.of(now, host)
	return k.tokens >= tokens
}

// spend takes that many tokens from a host if it has them.
func (b *budgets) spend(now time.Time, host netip.Addr, tokens float64) bool {
	k, _ := b.of(now, host)
	if k.tokens < tokens {
		return false
	}
	k.tokens -= tokens
	return true
}

// of returns the bucket of a host, refilled up to now, and its capacity.
func (b *budgets) of(now time.Time, host netip.Addr) (k *bucket, burst float64) {
	host = udp.Host(host)
	shares := float64(shareOf(host, 1))
	k = b.hosts[host]
	if k == nil {
		if b.hosts == nil {
			b.hosts = make(map[netip.Addr]*bucket)
		}
		b.sweep(now)
		if len(b.hosts) < maxHosts {
			k = new(bucket)
			b.hosts[host] = k
		} else {
			k = &b.shared
		}
	}
	k.refill(now, shares*b.rate, shares*b.burst)
	return k, shares * b.burst
}

// sweep drops hosts whose bucket is full again. It runs when the table is full,
// at most once a second.
func (b *budgets) sweep(now time.Time) {
	if len(b.hosts) < maxHosts || now.Sub(b.swept) < time.Second {
		return
	}
	b.swept = now
	for host, k := range b.hosts {
		if now.Sub(k.at).Seconds()*b.rate+k.tokens >= b.burst {
			delete(b.hosts, host)
		}
	}
}

// A standing is how well an address is known to be the sender's.
type standing uint8

const (
	stranger    standing = iota // no player, or a plain one who has only joined
	plainPlayer                 // a plain player who has sent more than that
	tagged                      // who has proven the address: see cookies
)

// earn credits a plain player's host with what may be sent there in return for
// a datagram of n bytes. Datagrams from others earn nothing: see answer.
func (s *Server) earn(now time.Time, p *player, n int) {
	host := p.addr.Addr()
	if host.IsLoopback() {
		return
	}
	credit := float64(wire.ReplyBudget(n))
	s.plainBytes.earn(now, host, credit)
	if p.standing() == stranger {
		s.strangers.refill(now, hostRate, hostBurst)
		s.strangers.tokens = min(hostBurst, s.strangers.tokens+credit)
	}
}

// isSparing reports whether a player is not told what happens, because the rest
// of the strangers' budget is reserved for newcomers: otherwise many strangers
// who are told of each other would keep out the next one.
func (s *Server) isSparing(now time.Time, p *player) bool {
	if p.standing() != stranger || p.addr.Addr().IsLoopback() {
		return false
	}
	s.strangers.refill(now, hostRate, hostBurst)
	return s.strangers.tokens < hostBurst/2
}

// affords reports whether a datagram of n bytes may be sent to an address.
// Tagged players have proven their address, and nobody outside can forge
// loopback addresses.
func (s *Server) affords(now time.Time, to netip.Addr, k standing, n int) bool {
	if k == tagged || to.IsLoopback() {
		return true
	}
	cost := float64(n + wire.HeaderSize)
	s.strangers.refill(now, hostRate, hostBurst)
	return (k != stranger || s.strangers.tokens >= cost) && s.plainBytes.has(now, to, cost)
}

// sendAs sends b to an address, unless its budget is used up.
func (s *Server) sendAs(now time.Time, to netip.AddrPort, k standing, b []byte) {
	if !s.affords(now, to.Addr(), k, len(b)) {
		s.log.debug(now, "not sent: too much for one host", "to", to)
		return
	}
	if k != tagged && !to.Addr().IsLoopback() {
		cost := float64(len(b) + wire.HeaderSize)
		s.plainBytes.spend(now, to.Addr(), cost)
		if k == stranger {
			s.strangers.tokens -= cost
		}
	}
	s.write(now, to, b)
}

// answer sends b to the source of a datagram that is not from a player. Up to
// three times the size of the datagram needs no budget.
func (s *Server) answer(now time.Time, d datagram, b []byte) {
	if len(b)+wire.HeaderSize <= wire.ReplyBudget(len(d.data)) {
		s.write(now, d.from, b)
		return
	}
	s.sendAs(now, d.from, stranger, b)
}

// write writes b to an address.
func (s *Server) write(now time.Time, to netip.AddrPort, b []byte) {
	if _, err := s.conn.WriteToUDPAddrPort(b, to); err != nil {
		s.log.debug(now, "not sent", "to", to, "error", err)
	}
}
