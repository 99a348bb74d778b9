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

// buckets holds a token bucket for each source that used some of its tokens of
// late. When the table is full, it and the previous one change places: a source
// is forgotten only after watchedSources/2 others came, and whoever has so many
// addresses, or forges them, can at most have the buckets start full again. What
// bounds those is a limit on all sources together: the number of verifiers, and
// what there may be of outcomes in all.
type buckets struct {
	rate  rate.Limit // tokens a second
	burst int

	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

func newBuckets(r rate.Limit, burst int) *buckets {
	return &buckets{rate: r, burst: burst, young: make(map[netip.Addr]*rate.Limiter)}
}

// of returns the bucket of the source that a belongs to.
func (b *buckets) of(a netip.Addr) *rate.Limiter {
	a = source(a)
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.young[a]
	if l == nil {
		if l = b.old[a]; l == nil {
			l = rate.NewLimiter(b.rate, b.burst)
		}
		if len(b.young) == watchedSources/2 {
			b.young, b.old = make(map[netip.Addr]*rate.Limiter), b.young
		}
		b.young[a] = l
	}
	return l
}

// allow takes a token from the bucket of a's source, if there is one.
func (b *buckets) allow(a netip.Addr) bool { return b.of(a).Allow() }
