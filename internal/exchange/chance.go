package exchange

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Chance is the source of jitter and ids. Its methods may be called
// concurrently.
type Chance struct {
	mu     sync.Mutex
	source *rand.ChaCha8 // nil for the system's; set once
}

// NewChance returns a Chance that draws from source, which nothing else may
// use; nil means the system's randomness.
func NewChance(source *rand.ChaCha8) *Chance { return &Chance{source: source} }

// Jitter returns a duration from d-share·d to d+share·d.
func (c *Chance) Jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration(share*(2*c.float()-1)*float64(d))
}

func (c *Chance) float() float64 {
	if c.source == nil {
		return rand.Float64()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return rand.New(c.source).Float64()
}

// ID returns a new version 7 UUID (RFC 9562, section 5.7) with the given time.
func (c *Chance) ID(at time.Time) uuid.UUID {
	id := c.randomID()
	// uuid uses the process's own time and keeps it monotonic; a request needs
	// the registry's.
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

func (c *Chance) randomID() uuid.UUID {
	if c.source == nil {
		return uuid.Must(uuid.NewV7()) // crypto/rand does not fail
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Not NewV7FromReader, which also uses the process's clock: runs would not
	// repeat.
	var id uuid.UUID
	_, _ = c.source.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// IsTime reports whether the value of a tag now fits into a version 7 UUID.
func IsTime(ms uint64) bool { return ms > 0 && ms < 1<<47 }
