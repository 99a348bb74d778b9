package discovery

import (
	"bytes"

	"foyer/room"
	"foyer/wire"
)

// A verdict says whether the signed line that begins at pos was signed with
// key.
type verdict struct {
	pos int
	key room.Key
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
	for line, end, more := y.next(); more; line, end, more = y.next() {
		if err := r.parse(line); err != nil {
			y.pos = end
			continue
		}
		if key, ok := s.keyToCheck(&r); ok {
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

// keyToCheck returns the key that the request's signature is worth checking
// with.
func (s *Server) keyToCheck(r *request) (room.Key, bool) {
	if !r.signed() || r.checkTime(s.clock.now()) != nil {
		return room.Key{}, false
	}
	reg, err := s.store.Find(r.name)
	known := err == nil
	if r.Verb != wire.Register {
		return reg.Owner, known && !reg.Owner.IsZero()
	}
	return r.key, s.authorized(r.key) && (!known || reg.Owner == r.key)
}

// verified reports whether the line at x.pos was signed with key. The verifiers
// have looked, unless the name changed hands since.
func (x *exchange) verified(r *request, key room.Key) bool {
	for _, v := range x.verdicts {
		if v.pos == x.pos && v.key == key {
			return v.ok
		}
	}
	return wire.Verify(r.line, r.Sig, key)
}

// forged reports whether a verifier found the line at x.pos not to be signed
// with the key that it bears.
func (x *exchange) forged(r *request) bool {
	for _, v := range x.verdicts {
		if v.pos == x.pos && v.key == r.key {
			return !v.ok
		}
	}
	return false
}
