package room

import (
	"net/netip"
	"slices"
	"time"

	"foyer/internal/udp"
)

// What a memory holds at most, of one host and in all. Whoever comes and goes all
// the time pushes out what is remembered of their own host first.
const (
	perHost = 64
	inAll   = 1024

	// dearPerHost is how many of a host's things may be dear. Whoever would push
	// out others' dear things needs inAll of that memory / dearPerHost hosts to
	// begin with, and as many as it holds things to push out a host's only one.
	dearPerHost = 16
)

// A memory keeps what retries may still ask for, each thing for a fixed time
// and on behalf of a host. If something depends on it, it is dear.
type memory[T any] struct {
	keep    time.Duration
	perHost int
	inAll   int
	forgot  func(time.Time, *kept[T]) // called for each thing that is dropped; may be nil
	entries []kept[T]                 // oldest first; bounded by perHost and inAll
	hosts   map[netip.Addr]*tally     // those that entries are of
}

type kept[T any] struct {
	thing T
	of    *tally
	at    time.Time
	dear  bool
}

// tally counts what is kept of a host.
type tally struct {
	host         netip.Addr
	others, dear int
}

func (t *tally) count(dear bool) *int {
	if dear {
		return &t.dear
	}
	return &t.others
}

// add keeps a thing. If there are then too many of its host, the oldest of that
// host goes; else if there are too many in all, the oldest of the host that has
// most. Dear ones go only if there are no others, and the oldest one of a host
// that has too many of them is dear no longer.
func (m *memory[T]) add(now time.Time, addr netip.Addr, thing T, dear bool) {
	m.expire(now)
	host := udp.Host(addr)
	of := m.hosts[host]
	if of == nil {
		if m.hosts == nil {
			m.hosts = make(map[netip.Addr]*tally)
		}
		of = &tally{host: host}
		m.hosts[host] = of
	}
	m.entries = append(m.entries, kept[T]{thing, of, now, dear})
	*of.count(dear)++
	if of.dear > shareOf(host, dearPerHost) {
		i := slices.IndexFunc(m.entries, func(e kept[T]) bool { return e.of == of && e.dear })
		m.entries[i].dear = false
		of.dear--
		of.others++
	}
	if of.others+of.dear > shareOf(host, m.perHost) {
		i := slices.IndexFunc(m.entries, func(e kept[T]) bool { return e.of == of && !e.dear })
		m.drop(now, i)
	} else if len(m.entries) > m.inAll {
		m.drop(now, m.leastMissed())
	}
}

// leastMissed returns the index of what goes first when there is too much in all.
func (m *memory[T]) leastMissed() int {
	for _, dear := range []bool{false, true} {
		first, most := -1, 0
		for i := range m.entries {
			if e := &m.entries[i]; e.dear == dear && *e.of.count(dear) > most {
				first, most = i, *e.of.count(dear)
			}
		}
		if first >= 0 {
			return first
		}
	}
	panic("nothing is kept") // too much is
}

// find returns the newest thing that is still kept and of which is reports
// true, or nil.
func (m *memory[T]) find(now time.Time, is func(*T) bool) *T {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if e := &m.entries[i]; now.Sub(e.at) < m.keep && is(&e.thing) {
			return &e.thing
		}
	}
	return nil
}

// forget drops the things of which is reports true.
func (m *memory[T]) forget(now time.Time, is func(*T) bool) {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if is(&m.entries[i].thing) {
			m.drop(now, i)
		}
	}
}

// expire drops what has been kept for long enough, and returns when to call it
// again, or the zero time.
func (m *memory[T]) expire(now time.Time) (next time.Time) {
	for len(m.entries) > 0 {
		if next := m.entries[0].at.Add(m.keep); now.Before(next) {
			return next
		}
		m.drop(now, 0)
	}
	return time.Time{}
}

// drop drops one thing. What goes is mostly among the oldest, so those before it
// are moved and not those behind.
func (m *memory[T]) drop(now time.Time, i int) {
	e := m.entries[i]
	if *e.of.count(e.dear)--; e.of.others+e.of.dear == 0 {
		delete(m.hosts, e.of.host)
	}
	copy(m.entries[1:i+1], m.entries[:i])
	m.entries[0] = kept[T]{}
	m.entries = m.entries[1:]
	if m.forgot != nil {
		m.forgot(now, &e)
	}
}

// mostCrowded returns the host with the highest count.
func mostCrowded(counts map[netip.Addr]int) (host netip.Addr) {
	most := 0
	for h, n := range counts {
		if n > most {
			host, most = h, n
		}
	}
	return host
}

// shareOf returns what a host may have where others may have n. All the players
// of a room may sit at the machine that it runs on.
func shareOf(a netip.Addr, n int) int {
	if a.IsLoopback() {
		return n * loopbackShares
	}
	return n
}

// loopbackShares is for how many hosts the loopback addresses count.
const loopbackShares = 4
