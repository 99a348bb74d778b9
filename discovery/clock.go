package discovery

import (
	"sync"
	"sync/atomic"
	"time"

	"foyer/storage"
)

const (
	// tick is how often the lease clock advances.
	tick = 250 * time.Millisecond

	// maxStep is the most that it advances by at once. Whatever kept the
	// registry from ticking for longer than that (SIGSTOP, a suspended machine,
	// a disk that does not answer) counts as this much.
	maxStep = time.Second
)

// clock is the registry's two clocks; see [storage.Instant].
//
// Wall time is the system's, except that it never runs backwards: where the
// system's clock is set back, the registry's runs on at the pace of the
// monotonic clock until it is caught up with. So an id that was too old once
// stays too old.
//
// Lease time is a sum of ticks, each at most maxStep long.
type clock struct {
	system func() time.Time // the system's wall clock

	mu       sync.Mutex
	wall     time.Time // the registry's time at wallMono
	wallMono time.Time // a reading of the monotonic clock

	lease    atomic.Int64 // nanoseconds
	ticked   atomic.Int64 // wall time when it last advanced, in Unix milliseconds
	tickMono time.Time    // when the lease clock last advanced; the writer's
}

func newClock(system func() time.Time, last storage.Instant) *clock {
	now := time.Now()
	c := &clock{system: system, wall: last.Wall, wallMono: now, tickMono: now}
	c.lease.Store(int64(last.Lease))
	c.ticked.Store(c.now().UnixMilli())
	return c
}

// now returns the registry's wall time in UTC and whole milliseconds.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono := time.Now()
	c.wall = c.wall.Add(max(0, mono.Sub(c.wallMono)))
	c.wallMono = mono
	if system := c.system().Round(0).UTC(); system.After(c.wall) {
		c.wall = system
	}
	return c.wall.Truncate(time.Millisecond)
}

func (c *clock) leaseNow() time.Duration { return time.Duration(c.lease.Load()) }

// wallAt returns the wall time at a reading of the lease clock, stalls since then
// apart.
func (c *clock) wallAt(lease time.Duration) time.Time {
	return time.UnixMilli(c.ticked.Load()).Add(lease - c.leaseNow()).UTC().Truncate(time.Millisecond)
}

func (c *clock) instant() storage.Instant {
	return storage.Instant{Wall: c.now(), Lease: c.leaseNow()}
}

// resume makes the lease clock go on from now, without the time since it last
// advanced.
func (c *clock) resume() {
	c.tickMono = time.Now()
	c.ticked.Store(c.now().UnixMilli())
}

// advance moves the lease clock on and reports whether more time passed than
// it advanced by: a stall. Only the writer calls it.
func (c *clock) advance() (stalled bool) {
	mono := time.Now()
	step := mono.Sub(c.tickMono)
	c.tickMono = mono
	c.lease.Add(int64(max(0, min(step, maxStep))))
	c.ticked.Store(c.now().UnixMilli())
	return step > maxStep
}
