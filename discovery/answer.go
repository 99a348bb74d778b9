package discovery

import (
	"errors"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/wire"
)

// lookups asks the store for several names at once. It is the memory of one
// goroutine; the answers that are left in it may each keep a mebibyte of the store's,
// see Find in storage/engine.
type lookups struct {
	queries [stepLength]storage.Query
	lines   []request // memory to lend, see swap
}

// swap lends x, which has no lines in hand, memory to read lines into, or takes it
// back. Memory that serves one long datagram after the other stays in the processor's
// caches: renewals, 16 to a datagram, cost a tenth less.
func (l *lookups) swap(x *exchange) {
	x.requests, l.lines, x.at = l.lines[:0], x.requests[:0], 0
}

// find looks up the names of the lines that xs have in hand, stepLength at most, as
// far as these can be answered from memory. What is known then is good until the next
// find with the same lookups.
func (l *lookups) find(store storage.Store, xs ...*exchange) {
	n := 0
	for _, x := range xs {
		for i := x.at; i < len(x.requests); i++ {
			r := &x.requests[i]
			if r.err == nil && (r.Verb == wire.Lookup || r.Verb == wire.Renew) {
				r.known = &l.queries[n]
				r.known.Name = r.name
				n++
			}
		}
	}
	store.FindAll(l.queries[:n])
}

// answer answers the lines of x that need no transaction. It returns false when the
// line in hand needs one, or a verifier.
func (s *Server) answer(x *exchange, l *lookups) (done bool) {
	lend := x.at == len(x.requests) && x.unread < len(x.in)
	if lend {
		l.swap(x)
	}
	for x.read(stepLength) {
		l.find(s.store, x)
		if !s.answerKnown(x) {
			return false // x keeps the memory for its lines
		}
	}
	if lend {
		l.swap(x)
	}
	return true
}

// answerKnown is answer for the lines that have been read and looked up. A line whose
// reply does not fit is not carried out, nor are those behind it.
func (s *Server) answerKnown(x *exchange) (done bool) {
	for ; x.at < len(x.requests); x.at++ {
		switch fits, answered := s.answerLine(x, x.request()); {
		case !answered:
			return false
		case !fits:
			x.dropRest()
			return true
		}
	}
	return true
}

// refuseRest answers the lines of x that need no transaction and refuses the others,
// as they cannot be carried out now.
func (s *Server) refuseRest(x *exchange, l *lookups, why denial) {
	for !s.answer(x, l) {
		r := x.request()
		err := why(r)
		if err == nil {
			return // plain replies are told apart by their order: there must be no gap
		}
		if !x.refuse(r, err, 0) {
			return
		}
		x.at++
	}
}

// A denial says how a request is refused that cannot be carried out now; nil
// stands for silence, to it and to the lines behind it.
type denial func(*request) *foyer.Error

func busy(text string) denial {
	err := &foyer.Error{Code: foyer.Busy, Text: text}
	return func(*request) *foyer.Error { return err }
}

var (
	busySource = busy("too many of your requests are waiting; try again")
	busyQueue  = busy("too many requests are waiting; try again")
	busyVerify = busy("too many signatures from your address; try again")
)

// answerLine answers a line if that can be done without a transaction and without
// checking a signature.
func (s *Server) answerLine(x *exchange, r *request) (fits, answered bool) {
	switch {
	case r.err != nil:
		return x.unreadable(r), true
	case r.Verb == wire.Lookup:
		return s.lookup(x, r), true
	case r.signed() && !x.judged:
		return false, false
	case r.Verb == wire.Renew:
		return s.renew(x, r)
	case r.Verb == wire.Register && r.verdict == forged:
		return x.refuse(r, errBadSignature, 0), true
	}
	return false, false
}

func (s *Server) lookup(x *exchange, r *request) (fits bool) {
	switch q := r.known; {
	case q.Err == nil:
		return x.found(r, &q.Registration)
	case errors.Is(q.Err, foyer.ErrUnknownName):
		return x.refuse(r, errUnknown, 0)
	default:
		s.log.Error("a look-up failed", "err", q.Err)
		return x.refuse(r, foyer.ErrUnavailable, 0)
	}
}

// renew answers a RENEW from memory, or leaves it to the writer: who wants another
// lease than is granted, or may have done so before.
func (s *Server) renew(x *exchange, r *request) (fits, answered bool) {
	reg := &r.known.Registration
	var refusal *foyer.Error
	switch {
	case errors.Is(r.known.Err, foyer.ErrUnknownName):
		refusal = errUnknown
	case r.known.Err != nil:
		return x.refuse(r, foyer.ErrUnavailable, 0), true
	default:
		refusal = x.checkRenew(r, reg)
	}
	var asked int64
	if r.signed() || r.recorded() {
		now := s.clock.now()
		switch stale := r.checkTime(now); {
		case r.recorded() && stale != nil:
			return false, false // it may have changed the lease when it was not
		case r.recorded():
			asked = r.idTime()
		case stale != nil:
			return x.reply(r, &decision{err: stale}, now), true
		}
	}
	if r.recorded() && (refusal != nil || grant(r.TTL) != reg.TTL) {
		return false, false
	}
	if refusal != nil {
		return x.refuse(r, refusal, 0), true
	}
	d := decision{ttl: reg.TTL}
	before := x.out
	if !x.reply(r, &d, time.Time{}) {
		return false, true
	}
	if reg.TTL == 0 {
		return true, true
	}
	now := s.clock.leaseNow()
	became := s.leases.renew(r.name, reg.Address, now, asked)
	if became == renewedLate {
		select {
		case s.late <- *reg:
		default: // so many are late that some more make no difference
		}
	}
	if became <= renewedLate && !outruns(reg, now) {
		return true, true
	}
	x.out = before // the writer knows what has become of it, or writes it down
	return false, false
}
