package client

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// chance is where jitter and ids come from.
type chance struct {
	mu     sync.Mutex
	source *rand.ChaCha8 // nil for the system's; set once
}

// jitter returns a duration from d-share·d to d+share·d.
func (c *chance) jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration(share*(2*c.float()-1)*float64(d))
}

func (c *chance) float() float64 {
	if c.source == nil {
		return rand.Float64()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return rand.New(c.source).Float64()
}

// id returns a new version 7 UUID (RFC 9562, section 5.7) of the given time.
func (c *chance) id(at time.Time) uuid.UUID {
	id := c.randomID()
	// uuid takes the process's own time and makes it grow, whatever the clock
	// does; a request's time has to be the registry's.
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

func (c *chance) randomID() uuid.UUID {
	if c.source == nil {
		return uuid.Must(uuid.NewV7()) // crypto/rand, which does not fail
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Not NewV7FromReader, which draws on the process's clock as well: a run
	// would not repeat.
	var id uuid.UUID
	_, _ = c.source.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

const (
	firstInterval = 100 * time.Millisecond
	maxInterval   = time.Second
)

// A schedule says when to send again: after about 100 ms, then after intervals
// that grow by half, to a second at most. That makes nine or ten attempts
// within Timeout, of which all fail once in ten thousand requests when a fifth of
// everything is lost on the way there and another fifth on the way back.
type schedule struct {
	chance   *chance
	interval time.Duration // the last one, before jitter
}

// next returns how long to wait before the next attempt.
func (s *schedule) next() time.Duration {
	if s.interval == 0 {
		s.interval = firstInterval
	} else {
		s.interval += s.interval / 2
	}
	if s.interval >= maxInterval {
		s.interval = maxInterval
		return maxInterval // the earlier intervals' jitter keeps clients apart
	}
	return min(s.chance.jitter(s.interval, 0.2), maxInterval)
}
