package discovery

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"foyer"
	"foyer/storage"
)

// A quota bounds what the registry is made to write and to remember, for each
// host and in all. Who is over a bound is refused alone, before anything is
// applied; docs/decisions/0008-what-a-host-may-use.md has the reasons. It
// belongs to the writer.
//
// A host is a source. The bounds of a host are not for loopback, which is the
// operator's own, nor for keys that are trusted, see Server.trusts.
type quota struct {
	namesPerHost int
	names        map[netip.Addr]int // registered by each host that has any, but for loopback
	outcomes     *buckets           // what each host may still have recorded,
	unrecorded   *buckets           // and register without a record

	// What there may be in all. The reserves are for trusted keys.
	mostNames, reservedNames       int
	mostOutcomes, reservedOutcomes int

	// What the running transaction has used so far: each host, and names in all.
	uses  map[netip.Addr]use
	added int
}

type use struct{ names, outcomes, unrecorded int }

func newQuota(namesPerHost int) *quota {
	burst := outcomesPerName * max(namesPerHost, minOutcomeNames)
	perSecond := rate.Limit(float64(burst) / storage.OutcomeRetention.Seconds())
	return &quota{
		namesPerHost: namesPerHost,
		names:        make(map[netip.Addr]int),
		outcomes:     newBuckets(perSecond, burst),
		unrecorded:   newBuckets(perSecond, burst),

		mostNames: maxNames, reservedNames: maxNames / reservedPart,
		mostOutcomes: storage.MaxOutcomes, reservedOutcomes: storage.MaxOutcomes / reservedPart,

		uses: make(map[netip.Addr]use),
	}
}

var (
	errHostNames    = &foyer.Error{Code: foyer.Busy, Text: "your IP address has registered as many rooms as it may"}
	errHostOutcomes = &foyer.Error{Code: foyer.Busy, Text: "your IP address has changed too much in the last minutes; try again later"}
	errAllNames     = &foyer.Error{Code: foyer.Busy, Text: "the registry has as many rooms as it may; try again later"}
	errAllOutcomes  = &foyer.Error{Code: foyer.Busy, Text: "the registry remembers as many requests as it may; try again later"}
)

// admit refuses what would go beyond a bound: a name more for a host, an outcome, if
// one is to be recorded, or a registration without one: what is written to the log is
// there for as long. Nothing else is ever refused: what a DEREGISTER ends was
// registered before.
func (t *transaction) admit(x *exchange, r *request, d *decision, recorded bool) *foyer.Error {
	q, host := t.server.quota, counted(x.from())
	adds := d.event.Kind == storage.Registered
	gains := adds || d.event.Kind == storage.Replaced && counted(d.was) != host
	plain := !recorded && adds
	if !recorded && !gains {
		return nil
	}
	trusted := r.verdict == genuine && t.server.trusts(r.key)
	names, outcomes := q.mostNames, q.mostOutcomes
	if !trusted {
		names, outcomes = names-q.reservedNames, outcomes-q.reservedOutcomes
	}
	if recorded && t.Outcomes() >= outcomes {
		t.changed = true // a commit lets go of those that are old
		return errAllOutcomes
	}
	if adds && t.server.store.Len()+q.added >= names {
		return errAllNames
	}
	if trusted || !host.IsValid() {
		return nil
	}
	u := q.uses[host]
	if gains && q.names[host]+u.names >= q.namesPerHost {
		return errHostNames
	}
	if recorded {
		u.outcomes++
		if q.outcomes.of(host).Tokens() < float64(u.outcomes) {
			return errHostOutcomes
		}
		q.uses[host] = u
	}
	if plain {
		u.unrecorded++
		if q.unrecorded.of(host).Tokens() < float64(u.unrecorded) {
			return errHostOutcomes
		}
		q.uses[host] = u
	}
	return nil
}

// begin forgets what was used by a transaction that did not become durable.
func (q *quota) begin() {
	clear(q.uses)
	q.added = 0
}

// used counts the names of an effect of the running transaction.
func (q *quota) used(kind storage.Kind, e *effect) {
	switch {
	case kind == storage.Registered:
		q.added++
	case kind.Ends():
		q.added--
	}
	from, to := e.hosts()
	q.use(from, -1)
	q.use(to, 1)
}

func (q *quota) use(host netip.Addr, names int) {
	if host.IsValid() {
		u := q.uses[host]
		u.names += names
		q.uses[host] = u
	}
}

// commit counts what a durable transaction has used.
func (q *quota) commit(effects []effect) {
	for host, u := range q.uses {
		if u.outcomes > 0 {
			q.outcomes.of(host).AllowN(time.Now(), u.outcomes)
		}
		if u.unrecorded > 0 {
			q.unrecorded.of(host).AllowN(time.Now(), u.unrecorded)
		}
	}
	for i := range effects {
		from, to := effects[i].hosts()
		q.count(from, -1)
		q.count(to, 1)
	}
	q.begin()
}

func (q *quota) count(host netip.Addr, names int) {
	if !host.IsValid() {
		return
	}
	if n := q.names[host] + names; n > 0 {
		q.names[host] = n
	} else {
		delete(q.names, host)
	}
}

// counted returns the host that a request from a counts for, or the zero Addr.
func counted(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.IsLoopback() {
		return netip.Addr{}
	}
	return source(a)
}

// hosts returns for which host the name counted before, and for which now; none
// is the zero Addr.
func (e *effect) hosts() (from, to netip.Addr) {
	if e.rescue {
		return from, to
	}
	if !e.ends {
		to = counted(e.registration.From)
	}
	return counted(e.was), to
}

// trusts reports whether k is one of the keys that the registry is closed to
// others for.
func (s *Server) trusts(k foyer.Key) bool {
	set := s.keys.Load()
	return set != nil && (*set)[k]
}
