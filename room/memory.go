package room

import (
	"net/netip"
	"slices"
	"time"

	"foyer/internal/udp"
)

// Limits of a memory, per host and in all. Whoever comes and goes all the time
// first pushes out what is remembered of their own host.
const (
	perHost = 64
	inAll   = 1024

	// dearPerHost is how many of a host's things may be dear. To push out
	// others' dear things takes inAll/dearPerHost hosts, and to push out a
	// host's only one inAll hosts.
	dearPerHost = 16
)

// A memory keeps what retries may still ask for, each thing for a fixed time
// and on behalf of a host. A thing that matters more, because items depend on
// it, is dear.
type memory[T any] struct {
	keep    time.Duration
	perHost int
	inAll   int
	forgot  func(time.Time, *kept[T]) // called for each dropped thing; may be nil
	entries []kept[T]                 // oldest first; bounded by perHost and inAll
	hosts   map[netip.Addr]*tally     // of the entries
}

type kept[T any] struct {
	thing T
	of    *tally
	at    time.Time
	dear  bool
}

// tally counts what is kept for a host.
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

// add keeps a thing. If its host then has too many, the oldest of that host is
// dropped; else if there are too many in all, the oldest of the host that has
// most. Dear ones are dropped only if there are no others. A host's oldest dear
// one stops being dear when the host has too many of them.
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

// leastMissed returns the index of what to drop when there is too much in all.
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
	panic("nothing is kept") // there is too much
}

// find returns the newest thing that has not expired and for which is reports
// true, or nil.
func (m *memory[T]) find(now time.Time, is func(*T) bool) *T {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if e := &m.entries[i]; now.Sub(e.at) < m.keep && is(&e.thing) {
			return &e.thing
		}
	}
	return nil
}

// forget drops the things for which is reports true.
func (m *memory[T]) forget(now time.Time, is func(*T) bool) {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if is(&m.entries[i].thing) {
			m.drop(now, i)
		}
	}
}

// expire drops what is too old, and returns when to call it again, or the zero
// time.
func (m *memory[T]) expire(now time.Time) (next time.Time) {
	for len(m.entries) > 0 {
		if next := m.entries[0].at.Add(m.keep); now.Before(next) {
			return next
		}
		m.drop(now, 0)
	}
	return time.Time{}
}

// drop removes one thing. That is mostly one of the oldest, so the ones before
// it are moved, not the ones after it.
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

// shareOf returns how many a host may have where others may have n. All players
// of a room may be on the machine that it runs on.
func shareOf(a netip.Addr, n int) int {
	if a.IsLoopback() {
		return n * loopbackShares
	}
	return n
}

// loopbackShares is how many hosts the loopback addresses count as.
const loopbackShares = 4
