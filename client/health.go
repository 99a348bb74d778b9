package client

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

const (
	// minUsual is the least usual answer time: answers that come a little late,
	// because a program was not scheduled or collected garbage, are no reason to
	// ask another registry.
	minUsual = 20 * time.Millisecond

	// A registry that did not answer is left alone for minPause, and for twice as
	// long each further time, up to maxPause.
	minPause = time.Second
	maxPause = 30 * time.Second

	// maxHealths bounds the table, which outgrows maxRegistries when names resolve
	// to ever-changing addresses. It is emptied then, and learned again.
	maxHealths = 4 * maxRegistries
)

// A kind of request says what its answer waits for.
type kind int

const (
	read   kind = iota // look-ups and renewals, answered from memory
	change             // those that are made durable first
	kinds
)

// An estimate is how long answers take, smoothed as in RFC 6298, section 2. The
// zero estimate means that there has been none.
type estimate struct{ mean, deviation time.Duration }

func (e *estimate) add(took time.Duration) {
	took = max(took, 1)
	if e.mean == 0 {
		*e = estimate{took, took / 2}
		return
	}
	e.deviation += ((took - e.mean).Abs() - e.deviation) / 4
	e.mean += (took - e.mean) / 8
}

// health is how a registry has answered lately.
type health struct {
	took  [kinds]estimate
	pause time.Duration // the last one; 0 since it answered
	until time.Time     // when the pause ends
}

// usual returns the time within which an answer usually comes, unknown if there
// has been none.
func (h *health) usual(k kind, unknown time.Duration) time.Duration {
	e := h.took[k]
	if e.mean == 0 {
		return unknown
	}
	return max(e.mean+4*e.deviation, minUsual)
}

// answered records that an answer came at some time after the last attempt.
// Which attempt was answered is not known if there were several: it then took at
// least that long (RFC 6298, section 3, takes no such samples at all, and slows
// the retries down instead).
func (h *health) answered(k kind, took time.Duration, attempts int) {
	h.pause, h.until = 0, time.Time{}
	if attempts == 1 || h.took[k].mean != 0 && took > h.took[k].mean {
		h.took[k].add(took)
	}
}

// failed records that there was no answer, or none that is of use. Many requests
// may find that out at once.
func (h *health) failed(now time.Time) {
	if now.Before(h.until) {
		return
	}
	h.pause = min(max(2*h.pause, minPause), maxPause)
	h.until = now.Add(h.pause)
}

// healths has entries for registries that were asked while there were several.
type healths map[netip.AddrPort]*health

// of returns the entry of peer, which the caller may change.
func (h healths) of(peer netip.AddrPort) *health {
	known := h[peer]
	if known == nil {
		if len(h) >= maxHealths {
			clear(h)
		}
		known = &health{}
		h[peer] = known
	}
	return known
}

// order sorts peers: the one to ask first comes first, those that are left alone
// come last.
//
// The registry that answered last goes on being asked first, because it knows at
// once what it has acknowledged, and the others a little later. It is left only
// for one that answers more than twice as fast, by 20 ms at least.
func (c *Client) order(peers []netip.AddrPort) {
	if len(peers) < 2 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	type rank struct {
		alone int // 1 if it is left alone
		cost  time.Duration
	}
	rankOf := func(peer netip.AddrPort) rank {
		r := rank{cost: math.MaxInt64}
		if h := c.health[peer]; h != nil {
			if now.Before(h.until) {
				r.alone = 1
			}
			if mean := h.took[read].mean; mean != 0 {
				r.cost = mean
			}
		}
		switch {
		case peer != c.preferred:
		case r.cost == math.MaxInt64: // has answered changes only
			r.cost = 0
		default:
			r.cost = (r.cost - minUsual) / 2
		}
		return r
	}
	slices.SortStableFunc(peers, func(a, b netip.AddrPort) int {
		x, y := rankOf(a), rankOf(b)
		return cmp.Or(cmp.Compare(x.alone, y.alone), cmp.Compare(x.cost, y.cost))
	})
}
