package exchange

import "time"

const (
	// Patience is how many attempts go to the first address before each further
	// one goes to the next in turn.
	Patience = 2

	// MaxRegistries is how many registries a client asks, at most.
	MaxRegistries = 16

	// MaxCorrections is how often a request lets its peer correct the clock.
	MaxCorrections = 2

	// ReadErrorPause is how long the reader of a socket rests after an error. Some
	// systems report errors of datagrams sent earlier there, which must neither end
	// the reader nor keep it busy.
	ReadErrorPause = time.Millisecond

	// FirstInterval is when a request is sent again for the first time, before
	// jitter.
	FirstInterval = 100 * time.Millisecond

	maxInterval = time.Second
)

// A Schedule says when to send again: after about 100 ms, then after intervals
// that grow by half, up to a second. That makes nine or ten attempts within
// [Timeout], which all fail for one request in ten thousand if a fifth of the
// datagrams is lost in each direction.
type Schedule struct {
	Chance   *Chance
	interval time.Duration // the last one, before jitter
}

// Next returns how long to wait before the next attempt.
func (s *Schedule) Next() time.Duration {
	if s.interval == 0 {
		s.interval = FirstInterval
	} else {
		s.interval += s.interval / 2
	}
	if s.interval >= maxInterval {
		s.interval = maxInterval
		return maxInterval // the earlier intervals' jitter keeps clients apart
	}
	return min(s.Chance.Jitter(s.interval, 0.2), maxInterval)
}
