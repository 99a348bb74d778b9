package admin

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"foyer/discovery"
)

// ratesKept is how many samples there are, at 56 bytes each.
const ratesKept = 300

// Rates is the answer to GET /v1/rates: what the registry has done in each of the last
// 300 intervals, or since it began, oldest first.
type Rates struct {
	IntervalSeconds int      `json:"interval_seconds"`
	Samples         []Sample `json:"samples"`
}

// A Sample is what was done in the interval before Time: requests that were answered
// and transactions that were written.
type Sample struct {
	Time        time.Time `json:"time"` // RFC 3339, UTC
	Lookups     uint64    `json:"lookups"`
	Registers   uint64    `json:"registers"`
	Renewals    uint64    `json:"renewals"`
	Deregisters uint64    `json:"deregisters"`
	Other       uint64    `json:"other"` // lines that were no requests
	Commits     uint64    `json:"commits"`
}

// rates keeps the last samples.
type rates struct {
	mu      sync.Mutex
	samples []Sample
}

// sample takes a sample every second until ctx ends.
func (a *Admin) sample(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := totals(a.server.Stats())
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := totals(a.server.Stats())
		a.rates.add(Sample{
			Time:        a.server.Now(),
			Lookups:     now.Lookups - last.Lookups,
			Registers:   now.Registers - last.Registers,
			Renewals:    now.Renewals - last.Renewals,
			Deregisters: now.Deregisters - last.Deregisters,
			Other:       now.Other - last.Other,
			Commits:     now.Commits - last.Commits,
		})
		last = now
	}
}

// totals returns what was done since the server began, without a Time.
func totals(s *discovery.Stats) Sample {
	requests := func(verb string) (n uint64) {
		for _, count := range s.Requests[verb].ByCode {
			n += count
		}
		return n
	}
	return Sample{
		Lookups: requests("lookup"), Registers: requests("register"), Renewals: requests("renew"), Deregisters: requests("deregister"),
		Other: requests("other"), Commits: s.Commits["ok"],
	}
}

func (r *rates) add(s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) == ratesKept {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	r.samples = append(r.samples, s)
}

func (a *Admin) serveRates(w http.ResponseWriter, _ *http.Request) {
	a.rates.mu.Lock()
	all := Rates{IntervalSeconds: 1, Samples: append([]Sample{}, a.rates.samples...)}
	a.rates.mu.Unlock()
	answer(w, all)
}
