package discovery

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"foyer/storage"
	"foyer/wire"
)

// Stats says what a Server has done since it was made, and how it is doing. Nothing
// in it grows with the number of names.
type Stats struct {
	// Requests are by verb: "lookup", "register", "renew", "deregister" and "other",
	// which are lines that cannot be read.
	Requests map[string]RequestStats

	// DatagramsReceived and DatagramsSent count the datagrams of requests and
	// of replies. Each may have many lines.
	DatagramsReceived, DatagramsSent uint64

	// Dropped counts the datagrams of which a part was refused with the code busy
	// for want of room, by reason: "write_queue_full", "verify_queue_full",
	// "source_share" (the sender has half of the writer's queue), and
	// "signature_rate" (the sender has had its signatures a second).
	Dropped map[string]uint64

	// WriteQueue and VerifyQueue are how many datagrams wait for the writer and for a
	// verifier, and WriteQueueCapacity is how many may wait for the writer.
	WriteQueue, WriteQueueCapacity, VerifyQueue int

	// Commits counts transactions, of requests and of the registry's own, by what
	// became of them: "ok", "unavailable" (nothing was changed) and "uncertain".
	Commits map[string]uint64

	// CommitDuration is how long each of them took, in seconds, and CommitDatagrams
	// is how many datagrams with requests the writer took at a time.
	CommitDuration, CommitDatagrams Histogram

	// Events counts what happened to names, once it was known to be durable: by
	// [storage.Kind] with a dash for a space ("renewed-late"). Checkpoints of leases
	// are no events.
	Events map[string]uint64

	// Stalls counts how often the registry stood still for more than a second.
	Stalls uint64

	Registrations int
	Leases        []LeaseCount // in ascending order of Under; the last has all that run
	Holds         int          // names that are held back now
	Outcomes      int          // kept for retries, when the last transaction was durable; 0 before the first
	Writable      bool         // as Healthy says
}

// RequestStats are of the requests of a verb. A request is a line that was answered.
type RequestStats struct {
	// ByCode has "ok", which may be 0 and which "other" lacks, and every code that was the answer.
	ByCode map[string]uint64

	// Duration is the time from when a request's datagram was read from the socket
	// until its reply was handed to it, in seconds.
	Duration Histogram
}

// A Histogram counts observations in buckets.
type Histogram struct {
	// Counts are how many were above the previous of Bounds and at most the one of
	// the same index; there is one more, of those above all Bounds.
	Counts []uint64
	Bounds []float64
	Sum    float64 // of what was observed
}

// Count returns how many observations there were.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// A LeaseCount says how many leases end in less than a time, to a second: those
// that have run out and are about to be ended among them.
type LeaseCount struct {
	Under time.Duration
	N     int
}

// leaseBounds are the times of the LeaseCounts. Below MaxTTL they are short, as a
// slot of the wheel is looked at for each second.
var leaseBounds = [...]time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour, MaxTTL}

// Stats returns what the Server has done until now. It may be called from any
// goroutine, at any time, and holds nobody up for longer than some microseconds.
func (s *Server) Stats() *Stats {
	stats := &Stats{
		Requests:           make(map[string]RequestStats, verbs),
		Dropped:            make(map[string]uint64, len(dropReasons)),
		WriteQueue:         len(s.toWrite),
		WriteQueueCapacity: cap(s.toWrite),
		VerifyQueue:        len(s.toVerify),
		Registrations:      s.store.Len(),
		Holds:              s.holds.count(s.store, s.clock.now()),
		Writable:           s.Healthy(),
	}
	for i, reason := range dropReasons {
		stats.Dropped[reason] = s.dropped[i].Load()
	}
	for i, n := range s.leases.under(s.clock.leaseNow()) {
		stats.Leases = append(stats.Leases, LeaseCount{leaseBounds[i], n})
	}
	s.sumMeters(stats)
	s.commits.stats(stats)
	return stats
}

// newMeter returns a meter for a goroutine of the server.
func (s *Server) newMeter() *meter {
	m := new(meter)
	s.metersMu.Lock()
	defer s.metersMu.Unlock()
	s.meters = append(s.meters, m)
	return m
}

func (s *Server) sumMeters(stats *Stats) {
	var requests [results]uint64
	var latency [verbs]histogram
	s.metersMu.Lock()
	defer s.metersMu.Unlock()
	for _, m := range s.meters {
		m.mu.Lock()
		stats.DatagramsReceived += m.received
		stats.DatagramsSent += m.sent
		for i, n := range m.requests {
			requests[i] += n
		}
		for v := range latency {
			latency[v].merge(&m.latency[v])
		}
		m.mu.Unlock()
	}
	for v := range verbs {
		name := "other"
		if v > 0 {
			name = strings.ToLower(wire.Verb(v).String())
		}
		byCode := make(map[string]uint64)
		for i, c := range codeNames {
			if n := requests[v*mostCodes+i]; n > 0 || i == 0 && v > 0 {
				byCode[string(c)] = n
			}
		}
		stats.Requests[name] = RequestStats{byCode, latency[v].durations()}
	}
}

func (c *commits) stats(stats *Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats.Commits = make(map[string]uint64, len(commitResults))
	for i, name := range commitResults {
		stats.Commits[name] = c.results[i]
	}
	stats.CommitDuration = c.duration.durations()
	stats.CommitDatagrams = c.groups.export(groupBounds, 1)
	stats.Events = make(map[string]uint64, len(c.events))
	for kind := storage.Registered; int(kind) < len(c.events); kind++ {
		stats.Events[strings.ReplaceAll(kind.String(), " ", "-")] = c.events[kind]
	}
	stats.Stalls, stats.Outcomes = c.stalls, c.outcomes
}

func (h *histogram) durations() Histogram { return h.export(durationBounds, durationUnit.Seconds()) }

func (h *histogram) export(bounds int, unit float64) Histogram {
	e := Histogram{Counts: append([]uint64(nil), h.counts[:bounds+1]...), Sum: h.sum}
	for i := range bounds {
		e.Bounds = append(e.Bounds, unit*float64(int(1)<<i))
	}
	return e
}

// heldNames counts the names that are held. The store finds them among all names, so
// it is asked again only when that has changed.
type heldNames struct {
	known atomic.Bool // until is what the store has
	mu    sync.Mutex
	until []time.Time
}

func (h *heldNames) count(store storage.Store, now time.Time) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known.Swap(true) {
		holds, err := store.Holds()
		if err != nil {
			h.known.Store(false)
			return 0
		}
		h.until = h.until[:0]
		for i := range holds {
			h.until = append(h.until, holds[i].Until)
		}
	}
	for _, until := range h.until {
		if until.After(now) {
			n++
		}
	}
	return n
}
