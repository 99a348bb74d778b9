package discovery

import "time"

// The limits of the service. Each says what it bounds.
const (
	// queueLength bounds the datagrams that wait for the writer, and with them
	// its memory: a job is some 6 KiB at most. A full queue answers busy.
	queueLength = 2048

	// sourceShare bounds how many of them may come from one source (an IPv4
	// address, an IPv6 /64), so that one that floods is refused alone.
	sourceShare = queueLength / 2

	// probeEvery is how long nobody must have tried to write to a store that has
	// failed before the registry does so itself.
	probeEvery = 5 * time.Second

	// maxLines is more lines than fit into a datagram that REGISTER and RENEW.
	maxLines = 32

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

	// maxNames bounds the names in all: 16 million take some 5 GB of memory.
	// storage.MaxOutcomes bounds the outcomes. Of both, one reservedPart-th is
	// for trusted keys alone.
	maxNames     = 16 << 20
	reservedPart = 16

	// expiryBatch bounds the leases that expire, and those that are
	// checkpointed, in one transaction. The rest follow in the next ones, with a
	// transaction of requests in between if any wait. A larger batch makes those
	// wait longer and gains little: 200,000 leases that end together, beside
	// 3,000 registrations a second, are gone within 1.2, 1.1 and 1.1 s with 1,024,
	// 2,048 and 4,096, and the registrations' p99 is 11, 21 and 37 ms. On a disk
	// that takes 5 ms for a flush the larger ones gain more.
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

	// longLease is the ttl above which the end of a lease is checkpointed, and
	// checkpointEvery how much of the lease clock may pass before it is.
	longLease       = 5 * time.Minute
	checkpointEvery = 5 * time.Minute

	// cacheTTL is the longest that the answer to a look-up may be cached.
	cacheTTL = 30 * time.Second
)
