package room

import (
	"net/netip"
	"slices"
	"time"
)

// What a memory holds at most, of one host and in all. Whoever comes and goes
// all the time pushes out only what is remembered of their own host, unless
// there are more hosts than inAll.
const (
	perHost = 64
	inAll   = 1024
)

// A memory keeps what retries may still ask for, each thing for a fixed time
// and on behalf of a host.
type memory[T any] struct {
	keep    time.Duration
	forgot  func(T)   // called for each thing that is dropped; may be nil
	entries []kept[T] // oldest first; bounded by perHost and inAll
}

type kept[T any] struct {
	thing T
	host  netip.Addr
	at    time.Time
	dear  bool
}

// add keeps a thing. If there are too many of its host, one of that host goes,
// else if there are too many in all, one of the host that has most: the oldest,
// and dear ones last.
func (m *memory[T]) add(now time.Time, addr netip.Addr, thing T, dear bool) {
	m.expire(now)
	host := hostOf(addr)
	counts := make(map[netip.Addr]int)
	for i := range m.entries {
		counts[m.entries[i].host]++
	}
	if counts[host] >= shareOf(host, perHost) {
		m.makeRoom(host)
	} else if len(m.entries) >= inAll {
		m.makeRoom(mostCrowded(counts))
	}
	m.entries = append(m.entries, kept[T]{thing, host, now, dear})
}

// makeRoom drops one thing of a host that has some.
func (m *memory[T]) makeRoom(host netip.Addr) {
	drop := -1
	for i := range m.entries {
		if e := &m.entries[i]; e.host == host && (drop < 0 || m.entries[drop].dear && !e.dear) {
			drop = i
		}
	}
	m.drop(drop, drop+1)
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

// expire drops what has been kept for long enough, and returns when to call it
// again, or the zero time.
func (m *memory[T]) expire(now time.Time) (next time.Time) {
	old := 0
	for old < len(m.entries) && now.Sub(m.entries[old].at) >= m.keep {
		old++
	}
	m.drop(0, old)
	if len(m.entries) > 0 {
		next = m.entries[0].at.Add(m.keep)
	}
	return next
}

func (m *memory[T]) drop(from, to int) {
	if m.forgot != nil {
		for _, e := range m.entries[from:to] {
			m.forgot(e.thing)
		}
	}
	m.entries = slices.Delete(m.entries, from, to)
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

// hostOf returns what counts as one host: who has one IPv6 address of a network
// has them all.
func hostOf(a netip.Addr) netip.Addr {
	if network, err := a.Prefix(64); err == nil && a.Is6() {
		return network.Addr()
	}
	return a
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
