package discovery

import (
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// source is what is counted as one sender: an IPv4 address, or the /64 that an
// IPv6 host can choose its addresses from.
func source(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// shares counts what each source has waiting in the writer's queue. Only
// sources that have something there have an entry.
type shares struct {
	mu      sync.Mutex
	waiting map[netip.Addr]int
}

func newShares() shares { return shares{waiting: make(map[netip.Addr]int)} }

func (s *shares) take(a netip.Addr) bool {
	a = source(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[a] >= sourceShare {
		return false
	}
	s.waiting[a]++
	return true
}

func (s *shares) release(a netip.Addr) {
	a = source(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[a]--; s.waiting[a] == 0 {
		delete(s.waiting, a)
	}
}

// verifyLimits holds a token bucket for each source that sent signatures of
// late. When the table is full, it and the previous one change places: a source
// is forgotten only after verifySources/2 others came, and a forger of addresses
// can at most have the buckets start full again. What then bounds the time
// spent is the number of verifiers.
type verifyLimits struct {
	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

func newVerifyLimits() *verifyLimits {
	return &verifyLimits{young: make(map[netip.Addr]*rate.Limiter)}
}

func (v *verifyLimits) allow(a netip.Addr) bool {
	a = source(a)
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.young[a]
	if l == nil {
		if l = v.old[a]; l == nil {
			l = rate.NewLimiter(verifyRate, verifyBurst)
		}
		if len(v.young) == verifySources/2 {
			v.young, v.old = make(map[netip.Addr]*rate.Limiter), v.young
		}
		v.young[a] = l
	}
	return l.Allow()
}
