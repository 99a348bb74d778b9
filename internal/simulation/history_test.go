package simulation

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync"
	"time"

	"foyer"
	"foyer/wire"
)

// The names and addresses of a world are divided into districts. A client acts
// in one district only, so that the history of each can be checked separately,
// and is small enough for that.
const (
	namesPerDistrict     = 3
	addressesPerDistrict = 4
	keysPerDistrict      = 2
	ttlsPerDistrict      = 2
)

// none stands for no key and no address.
const none = -1

// never is later than everything in a world.
const never = time.Duration(math.MaxInt64)

// An operation is one call of a client's method as the caller saw it. Times
// count from the beginning of the world.
type operation struct {
	district, actor int
	verb            wire.Verb
	name            int // in the district, as are address and owner
	address         int // for LOOKUP none
	owner           int // the key that it is signed with, or none
	ttl             time.Duration
	from            int // the actor whose IP address it comes from

	called, returned time.Duration
	answer           answer

	// Found out afterwards: under which ids it was asked for, and before when a
	// lease granted to it cannot have ended, for each ttl of its district.
	ids    []foyer.ID
	leases [ttlsPerDistrict]lease
}

// A granted lease of that length cannot have ended before until.
type lease struct{ ttl, until time.Duration }

func (op *operation) until(ttl time.Duration) time.Duration {
	for _, l := range op.leases {
		if l.ttl == ttl {
			return l.until
		}
	}
	return never
}

// idTime returns the time in a version 7 id, in Unix milliseconds.
func idTime(id foyer.ID) (ms int64) {
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return ms
}

// An answer is what a call returned.
type answer struct {
	unknown bool       // it may have taken effect, until returned
	code    foyer.Code // empty for OK
	address int        // of a LOOKUP
	ttl     time.Duration
}

func (op *operation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%12.6f %12.6f  %2d  %-10s", op.called.Seconds(), op.returned.Seconds(), op.actor, op.verb)
	if op.address != none {
		fmt.Fprintf(&b, " a%d", op.address)
	}
	fmt.Fprintf(&b, " n%d", op.name)
	if op.owner != none {
		fmt.Fprintf(&b, " key %d", op.owner)
	}
	if op.ttl > 0 {
		fmt.Fprintf(&b, " ttl %v", op.ttl)
	}
	b.WriteString(" -> ")
	switch a := op.answer; {
	case a.unknown:
		b.WriteString("?")
	case a.code != "":
		b.WriteString(string(a.code))
	case op.verb == wire.Lookup:
		fmt.Fprintf(&b, "a%d", a.address)
	default:
		fmt.Fprintf(&b, "OK %v", a.ttl)
	}
	return b.String()
}

// A history is what all clients of a world saw, in the order in which calls
// returned.
type history struct {
	mu         sync.Mutex
	operations []*operation
}

func (h *history) add(op *operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, op)
}

// digest is the same for two histories that are the same to the nanosecond.
func (h *history) digest() uint64 {
	sum := fnv.New64a()
	for _, op := range h.operations {
		fmt.Fprintln(sum, op)
	}
	return sum.Sum64()
}
