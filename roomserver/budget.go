package roomserver

import (
	"net/netip"
	"time"

	"foyer/wire"
)

const (
	// hostRate and hostBurst are what a host may be sent beside three times
	// what came from it, in bytes a second and bytes. A room full of talk stays
	// below that, and it is too little to hurt whoever is sent it unasked.
	hostRate  = 32 << 10
	hostBurst = 4 * hostRate

	// maxHosts bounds the table of hosts. When it is full of hosts that were
	// heard of within the last few seconds, the others share one budget.
	maxHosts = 4096
)

// bucket is a token bucket.
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

// budgets bound what is sent to each host.
type budgets struct {
	hosts  map[netip.Addr]*bucket // bounded by maxHosts
	shared bucket
	swept  time.Time
}

// earn credits a host with a datagram of n bytes that came from there.
func (b *budgets) earn(now time.Time, host netip.Addr, n int) {
	if !host.IsLoopback() {
		k := b.of(now, host)
		k.tokens = min(hostBurst, k.tokens+float64(wire.ReplyBudget(n)))
	}
}

// spend reports whether a datagram of n bytes may be sent to a host, and books
// it.
func (b *budgets) spend(now time.Time, host netip.Addr, n int) bool {
	if host.IsLoopback() {
		return true
	}
	k := b.of(now, host)
	cost := float64(n + wire.HeaderSize)
	if k.tokens < cost {
		return false
	}
	k.tokens -= cost
	return true
}

// hostOf returns what counts as one host: who has one IPv6 address of a network
// has them all.
func hostOf(a netip.Addr) netip.Addr {
	if network, err := a.Prefix(64); err == nil && a.Is6() {
		return network.Addr()
	}
	return a
}

// of returns the bucket of a host, filled up to now.
func (b *budgets) of(now time.Time, host netip.Addr) *bucket {
	host = hostOf(host)
	k := b.hosts[host]
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
	k.refill(now, hostRate, hostBurst)
	return k
}

// sweep drops the hosts whose budget is full again, when the table is full,
// and at most once a second.
func (b *budgets) sweep(now time.Time) {
	if len(b.hosts) < maxHosts || now.Sub(b.swept) < time.Second {
		return
	}
	b.swept = now
	for host, k := range b.hosts {
		if now.Sub(k.at).Seconds()*hostRate+k.tokens >= hostBurst {
			delete(b.hosts, host)
		}
	}
}
