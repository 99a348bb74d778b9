package room

import (
	"net/netip"
	"time"

	"foyer/internal/udp"
	"foyer/wire"
)

const (
	// hostRate and hostBurst are what the plain players of a host may be sent
	// beside three times what came from them, in bytes a second and bytes. A room
	// full of talk stays below that, and it is too little to hurt whoever is sent
	// it unasked. All strangers together may not be sent more than that either.
	hostRate  = 32 << 10
	hostBurst = 4 * hostRate

	// talkRate and talkBurst are how much of what one player says the others are
	// told, in messages a second and messages: faster than anybody types. A host's
	// players have twice as much together; those of either dialect by themselves,
	// so that who forges source addresses, as can be done in the plain one, takes
	// nothing from tagged players.
	talkRate      = 10
	talkBurst     = 60
	hostTalkRate  = 2 * talkRate
	hostTalkBurst = 2 * talkBurst

	// ownRate and ownBurst are what nobody of a player's host can take from them:
	// only what they say beyond it comes from what the host has. It is empty when
	// they come in, so that coming and going gains nothing.
	ownRate  = 1
	ownBurst = 5

	// hostJoinRate and hostJoinBurst are how many players of a host may come in,
	// in one dialect: all of them at once.
	hostJoinRate  = 20
	hostJoinBurst = maxPerHost

	// maxHosts bounds each table of hosts. When it is full of hosts that were
	// heard of within the last few seconds, the others share one bucket. Only
	// players come into a table, who are fewer.
	maxHosts = 4096
)

// bucket is a token bucket. golang.org/x/time/rate has none that can be credited, as
// what a player sends credits their host: Reservation.Cancel returns only what the
// reservation took.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
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

// has reports whether a host has so many tokens.
func (b *budgets) has(now time.Time, host netip.Addr, tokens float64) bool {
	k, _ := b.of(now, host)
	return k.tokens >= tokens
}

// spend takes so many tokens from a host if it has them.
func (b *budgets) spend(now time.Time, host netip.Addr, tokens float64) bool {
	k, _ := b.of(now, host)
	if k.tokens < tokens {
		return false
	}
	k.tokens -= tokens
	return true
}

// of returns the bucket of a host, filled up to now, and how much goes into it.
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

// sweep drops the hosts whose bucket is full again, when the table is full,
// and at most once a second.
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

// A standing is how far the room can believe that somebody is at their address.
type standing uint8

const (
	stranger    standing = iota // nobody, or a plain player who has only joined
	plainPlayer                 // a plain player who has sent something more
	tagged                      // who has sent back what the room sent: see cookies
)

// earn credits a plain player's host with what may be sent there for a datagram
// of n bytes. Datagrams of others earn nothing: see answer.
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

// isSparing reports whether a player is not told what happens, because what is
// left for strangers is kept for those who come in: else many who are told of
// each other would keep out the next.
func (s *Server) isSparing(now time.Time, p *player) bool {
	if p.standing() != stranger || p.addr.Addr().IsLoopback() {
		return false
	}
	s.strangers.refill(now, hostRate, hostBurst)
	return s.strangers.tokens < hostBurst/2
}

// affords reports whether a datagram of n bytes may be sent to an address.
// Tagged players have asked for it, and nobody outside can forge loopback
// addresses.
func (s *Server) affords(now time.Time, to netip.Addr, k standing, n int) bool {
	if k == tagged || to.IsLoopback() {
		return true
	}
	cost := float64(n + wire.HeaderSize)
	s.strangers.refill(now, hostRate, hostBurst)
	return (k != stranger || s.strangers.tokens >= cost) && s.plainBytes.has(now, to, cost)
}

// sendAs writes b to an address, unless that has had its share.
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

// answer writes b to where a datagram came from that is no player's. Up to three
// times its size needs no budget.
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
