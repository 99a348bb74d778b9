package discovery

import (
	"bytes"
	"slices"

	"foyer"
	"foyer/wire"
)

// A verdict says whether the signed line that begins at pos was signed with
// key.
type verdict struct {
	pos int
	key foyer.Key
	ok  bool
}

var sigTag = []byte("sig=")

// hasSigned reports whether a line that is still to be carried out is signed.
func (x *exchange) hasSigned() bool {
	if !bytes.Contains(x.in[x.pos:], sigTag) { // most have none, and need not be read for it
		return false
	}
	y := x.lines
	for line, end, more := y.next(); more; line, end, more = y.next() {
		if t, _, err := wire.ParseTags(line); err == nil && t.Sig != nil {
			return true
		}
		y.pos = end
	}
	return false
}

// verifyLoop judges the signatures of the jobs that it is given and passes the
// jobs on. There are as many loops as may take the machine's time with it.
func (s *Server) verifyLoop() {
	var a lookahead
	for j := range s.verify {
		if !s.judge(&j.exchange) {
			s.serve(&j.exchange, &a, busyVerify)
			s.finish(j)
			continue
		}
		if s.serve(&j.exchange, &a, nil) {
			s.finish(j)
			continue
		}
		j.save()
		select {
		case s.queue <- j:
		default:
			s.serve(&j.exchange, &a, busyQueue)
			s.finish(j)
		}
	}
}

// judge checks the signatures that matter, or returns false if the source may
// not have more checked now. What can be refused without looking at the
// signature is left alone.
func (s *Server) judge(x *exchange) bool {
	y := x.lines
	var r request
	var registered []registeredAhead
	for line, end, more := y.next(); more; line, end, more = y.next() {
		if err := r.parse(line); err != nil {
			y.pos = end
			continue
		}
		if r.Verb == wire.Register && r.signed() {
			registered = append(registered, registeredAhead{string(r.name), r.key})
		}
		if key, ok := s.keyToCheck(&r, registered); ok {
			if !s.limits.allow(x.peer.Addr()) {
				return false
			}
			x.verdicts = append(x.verdicts, verdict{y.pos, key, wire.Verify(line, r.Sig, key)})
		}
		y.pos = end
	}
	x.judged = true
	return true
}

// A registeredAhead is what a line of the datagram in hand asks for.
type registeredAhead struct {
	name string
	key  foyer.Key
}

// keyToCheck returns the key that the request's signature is worth checking
// with. A name that nobody has may be registered by then: by an earlier line of
// the same datagram, see ahead.
func (s *Server) keyToCheck(r *request, ahead []registeredAhead) (foyer.Key, bool) {
	if !r.signed() || r.checkTime(s.clock.now()) != nil {
		return foyer.Key{}, false
	}
	reg, err := s.store.Find(r.name)
	known := err == nil
	if r.Verb == wire.Register {
		return r.key, s.authorized(r.key) && (!known || reg.Owner == r.key)
	}
	if !known {
		for _, a := range slices.Backward(ahead) {
			if a.name == string(r.name) {
				return a.key, true
			}
		}
	}
	return reg.Owner, !reg.Owner.IsZero()
}

// checkSignature refuses the line at x.pos if it was not signed with key. Only
// verifiers check signatures, and only so many: where none has looked, because
// the name has changed hands since or does so in this very datagram, the retry
// is judged by who has it then.
func (x *exchange) checkSignature(key foyer.Key) *foyer.Error {
	switch v := x.verdict(key); {
	case v == nil:
		return errChangedHands
	case !v.ok:
		return errBadSignature
	}
	return nil
}

// verdict returns the verdict on the line at x.pos and key, or nil.
func (x *exchange) verdict(key foyer.Key) *verdict {
	for i := range x.verdicts {
		if v := &x.verdicts[i]; v.pos == x.pos && v.key == key {
			return v
		}
	}
	return nil
}

var errChangedHands = &foyer.Error{Code: foyer.Busy, Text: "the name has just changed hands; try again"}

// forged reports whether a verifier found the line at x.pos not to be signed
// with the key that it bears.
func (x *exchange) forged(r *request) bool {
	v := x.verdict(r.key)
	return v != nil && !v.ok
}
