package discovery

import (
	"math/bits"
	"sync"
	"time"

	"foyer"
	"foyer/wire"
)

// A result is how a line was answered: its verb and its code in one byte, so that
// to note it costs a look-up next to nothing.
type result uint8

// A result is verb*mostCodes + code. Verb 0 stands for lines that have none, and
// code 0 for OK.
const (
	verbs     = int(wire.Renew) + 1
	mostCodes = 32
	results   = verbs * mostCodes
)

var (
	codeNames   = append([]foyer.Code{"ok"}, foyer.Codes()...)
	codeNumbers = func() map[foyer.Code]result {
		numbers := make(map[foyer.Code]result, mostCodes)
		for i, c := range codeNames {
			numbers[c] = result(i)
		}
		return numbers
	}()
	unknownNumber = codeNumbers[foyer.UnknownName]
)

func granted(v wire.Verb) result { return result(v) * mostCodes }

func refused(v wire.Verb, c foyer.Code) result {
	n := unknownNumber
	if c != foyer.UnknownName { // as common as an address, for some
		n = codeNumbers[c]
	}
	return result(v)*mostCodes + n
}

// replayed is the result of a reply that was recorded.
func replayed(v wire.Verb, reply []byte) result {
	if r, err := wire.ParseReply(reply); err == nil && !r.OK {
		return refused(v, foyer.Code(r.Code))
	}
	return granted(v)
}

// A meter counts what one goroutine does, or several that take turns. Each has its
// own, so that nobody but a scraper ever waits for mu, and takes it once for a whole
// batch.
type meter struct {
	mu             sync.Mutex
	received, sent uint64 // datagrams
	requests       [results]uint64
	latency        [verbs]histogram
}

// note counts datagrams that were received and sent, and what is answered with
// these: the lines of xs.
func (m *meter) note(received, sent int, xs []*exchange, now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received += uint64(received)
	m.sent += uint64(sent)
	for _, x := range xs {
		took := now - x.received
		bucket, seconds := durationBucket(took), took.Seconds()
		for rs := x.out.results; len(rs) > 0; {
			r, n := rs[0], 1
			for n < len(rs) && rs[n] == r {
				n++
			}
			rs = rs[n:]
			m.requests[r] += uint64(n)
			m.latency[r/mostCodes].add(bucket, n, seconds)
		}
	}
}

// A histogram counts in buckets whose bounds are powers of two of a unit.
type histogram struct {
	counts [durationBounds + 1]uint64
	sum    float64
}

const (
	// The buckets of durations end at 16 µs, 32 µs and so on to 4.2 s, and one is
	// for what takes longer.
	durationUnit   = 16 * time.Microsecond
	durationBounds = 19

	// Those of groups end at 1, 2 and so on to queueLength datagrams, and one is for
	// groups that a batch was added to.
	groupBounds = 12
)

func (h *histogram) add(bucket, n int, each float64) {
	h.counts[bucket] += uint64(n)
	h.sum += float64(n) * each
}

func durationBucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(d, 1)-1)/uint64(durationUnit)), durationBounds)
}

func groupBucket(n int) int { return min(bits.Len(uint(max(n, 1)-1)), groupBounds) }

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.sum += other.sum
}

// commits counts what the writer does. It is noted once for a transaction.
type commits struct {
	mu       sync.Mutex
	results  [len(commitResults)]uint64
	duration histogram
	groups   histogram
	events   [len(told)]uint64 // by kind
	stalls   uint64
	outcomes int // when the last transaction was durable
}

// How an attempt to make a transaction durable ends.
const (
	commitDone = iota
	commitUnavailable
	commitUncertain
)

var commitResults = [...]string{commitDone: "ok", commitUnavailable: "unavailable", commitUncertain: "uncertain"}

// failed notes a transaction that is not known to be durable.
func (c *commits) failed(result int, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[result]++
	c.duration.add(durationBucket(took), 1, took.Seconds())
}

// done notes a durable transaction.
func (c *commits) done(took time.Duration, j *changeLog, outcomes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[commitDone]++
	c.duration.add(durationBucket(took), 1, took.Seconds())
	for kind := range j.noted {
		c.events[kind] += uint64(j.noted[kind].n)
	}
	c.outcomes = outcomes
}

func (c *commits) group(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups.add(groupBucket(n), 1, float64(n))
}

func (c *commits) stalled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalls++
}

// Why the rest of a datagram is refused with busy.
const (
	writeQueueFull = iota
	verifyQueueFull
	sourceShareUsed
	signatureRate
)

var dropReasons = [...]string{
	writeQueueFull:  "write_queue_full",
	verifyQueueFull: "verify_queue_full",
	sourceShareUsed: "source_share",
	signatureRate:   "signature_rate",
}
