package simulation

import (
	"sync"
	"time"
)

// A timeline records when the registry ran and when its disk stalled.
type timeline struct {
	mu     sync.Mutex
	runs   []span // without stalls; the last may still go on
	waits  []span // transactions that took longer than shortWait
	origin time.Time
}

// A span of time; end is never while it goes on.
type span struct{ begin, end time.Duration }

const (
	// A stall is what the registry has to notice; see docs/reliability.md.
	stall = time.Second

	// shortWait is how long a transaction may take without being recorded.
	shortWait = 20 * time.Millisecond

	// grace is the least that a lease has left after a restart or a stall,
	// unless its ttl is shorter.
	grace = 30 * time.Second
)

func (t *timeline) now() time.Duration { return time.Since(t.origin) }

func (t *timeline) up() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs = append(t.runs, span{t.now(), never})
}

func (t *timeline) down() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.runs) - 1; n >= 0 && t.runs[n].end == never {
		t.runs[n].end = t.now()
	}
}

// transaction records one that began then and has just ended.
func (t *timeline) transaction(begin time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if now-begin <= shortWait {
		return
	}
	t.waits = append(t.waits, span{begin, now})
	if n := len(t.runs) - 1; now-begin > stall && t.runs[n].end == never {
		t.runs[n].end = begin
		t.runs = append(t.runs, span{now, never})
	}
}

// earliestEnd returns the earliest time at which a lease granted at that time
// or later may end: after the registry has run for ttl, and not within the
// grace after a restart or a stall.
func (t *timeline) earliestEnd(granted, ttl time.Duration) time.Duration {
	if ttl == 0 {
		return never
	}
	left := ttl
	for i, r := range t.runs {
		if r.end <= granted {
			continue
		}
		begin := max(r.begin, granted)
		if end := max(begin+left, r.begin+min(ttl, grace)); end <= r.end {
			return end
		}
		// The registry may count the part of a stall that it does not notice.
		left -= r.end - begin
		if i+1 < len(t.runs) {
			left -= min(t.runs[i+1].begin-r.end, stall)
		}
		left = max(left, 0)
	}
	return never
}

// stalls returns how many transactions were stalls.
func (t *timeline) stalls() (n int) {
	for _, w := range t.waits {
		if w.end-w.begin > stall {
			n++
		}
	}
	return n
}

// taken returns the earliest time at which the registry may have begun to carry
// out a change that it was asked for at that time: after the transaction in
// progress. Two requests keep their order, in which they are usually carried
// out, so that porcupine tries it first.
func (t *timeline) taken(received time.Duration) time.Duration {
	for _, w := range t.waits {
		if w.begin < received && received <= w.end {
			return w.end - (w.end-received)>>20
		}
	}
	return received
}

// carriedOut returns the latest time at which the registry may carry out what
// it received at that time, if ever: transactions run one after the other, and
// a waiting request is carried out in the next one.
func (t *timeline) carriedOut(received time.Duration) time.Duration {
	done := received + 2*shortWait
	for _, w := range t.waits {
		if w.begin <= done {
			done = max(done, w.end+2*shortWait)
		}
	}
	return done
}
