package discovery

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The limits of the service. Each says what it bounds.
const (
	// queueLength bounds the datagrams that wait for the writer, and those that it
	// works on. An exchange is some 3 KiB, at most 30 KiB, so that is 15 MB of memory,
	// and 140 MB if every datagram is made for it. A full queue answers busy.
	queueLength = 2048

	// sourceShare bounds how many of them may come from one source (an IPv4
	// address, an IPv6 /64), so that one that floods is refused alone.
	sourceShare = queueLength / 2

	// probeEvery is how long nobody must have tried to write to a store that has
	// failed before the registry does so itself.
	probeEvery = 5 * time.Second

	// spins is how often a reader looks again before it sleeps.
	spins = 200

	// verifyQueueLength bounds the datagrams that wait for a verifier. At 50 µs
	// a signature the last one waits less than half a second.
	verifyQueueLength = 256

	// A source may have verifyRate signatures checked a second, verifyBurst at
	// once: a quarter of one core's time at most. What is over gets busy.
	verifyRate  = 5000
	verifyBurst = 1000

	// watchedSources bounds each table of sources whose rate is watched, at some
	// 200 bytes for one.
	watchedSources = 8192

	// A host may have outcomesPerName outcomes recorded for each name that it
	// may have: it can register, move and deregister all of them at once, and
	// again within [storage.OutcomeRetention]. Where few names are allowed, it is
	// so many for minOutcomeNames.
	outcomesPerName = 3
	minOutcomeNames = 1024

	// maxNames bounds the names in all: 16 million take some 5 GB of memory,
	// and exits up to 452 bytes more for each that tells of them.
	// storage.MaxOutcomes bounds the outcomes. Of both, one reservedPart-th is
	// for trusted keys alone.
	maxNames     = 16 << 20
	reservedPart = 16

	// expiryBatch bounds the leases that expire in one transaction. The rest follow
	// in the next ones, with a transaction of requests in between if any wait. A
	// larger batch makes those wait longer and gains little: 200,000 leases that end
	// together, beside 3,000 registrations a second, are gone within 1.2, 1.1 and
	// 1.1 s with 1,024, 2,048 and 4,096, and the registrations' p99 is 11, 21 and
	// 37 ms. On a disk that takes 5 ms for a flush the larger ones gain more.
	expiryBatch = 2048

	// lateQueueLength bounds the late renewals that wait to be written to the
	// history. More are not remembered.
	lateQueueLength = 256
)

// The times of the protocol.
const (
	// MinTTL and MaxTTL bound a lease; what is asked for beyond is granted as
	// the bound.
	MinTTL = 5 * time.Second
	MaxTTL = 24 * time.Hour

	// idWindow is how old, and how far ahead, the time in a version 7 id may
	// be. storage.OutcomeRetention is twice that.
	idWindow = 5 * time.Minute

	// leaseGrace is the least time that a lease runs on after the registry was
	// down or stalled, if its ttl is not shorter.
	leaseGrace = 30 * time.Second

	// longLease is the ttl above which the end of a lease is written when a renewal
	// moves it by more than checkpointEvery, which is also how often the lease clock is
	// written at least. So a dead room lives on by no more than both after a kill.
	longLease       = 5 * time.Minute
	checkpointEvery = 5 * time.Minute

	// cacheTTL is the longest that the answer to a look-up may be cached.
	cacheTTL = 30 * time.Second
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
// late. When the table is full it becomes the old one, and the one that was old is
// dropped: a source is forgotten only after watchedSources/2 others came, and whoever has so many
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
