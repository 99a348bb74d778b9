package discovery

import (
	"bytes"
	"slices"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
)

// A verdict is what a verifier has found of a signature.
type verdict uint8

const (
	unchecked verdict = iota
	genuine
	forged
)

var sigTag = []byte(";sig=")

// mayBeSigned reports whether a line may be a request whose signature matters: one that
// bears the tag sig, and not as its only one.
func mayBeSigned(line []byte) bool {
	if line[0] != '@' {
		return false
	}
	tags, _, _ := bytes.Cut(line, []byte{' '})
	return bytes.Contains(tags, sigTag)
}

// needsVerifier reports whether a line of x that is not answered may be signed.
// Signed lines are all judged before any later line is carried out, so that the
// order of the lines stands.
func (x *exchange) needsVerifier() bool {
	pos := x.request().start
	if !bytes.Contains(x.in[pos:], sigTag) { // most have none, and need not be looked at line by line
		return false
	}
	for line, _, end := x.nextLine(pos); line != nil; line, _, end = x.nextLine(end) {
		if mayBeSigned(line) {
			return true
		}
	}
	return false
}

// verifyLoop judges the signatures of the exchanges that it is given and passes
// them on. There are as many loops as may take the machine's time with it.
func (s *Server) verifyLoop() {
	m := s.newMeter()
	var l lookups
	var out []udp.Datagram
	for x := range s.toVerify {
		switch {
		case !s.judge(x):
			s.dropped[signatureRate].Add(1)
			s.refuseRest(x, &l, busyVerify)
		case s.answer(x, &l):
		case s.enqueue(x, &l):
			continue
		}
		out = s.reply(m, out, x)
	}
}

// judge checks the signatures that matter, or returns false if the source may
// not have more checked now. What can be refused without looking at the
// signature is left alone.
func (s *Server) judge(x *exchange) bool {
	for i := x.at; i < len(x.requests); i++ {
		if !s.judgeLine(x, &x.requests[i]) {
			return false
		}
	}
	// The signed lines behind those in hand are read before their turn.
	var r request
	for line, start, end := x.nextLine(x.unread); line != nil; line, start, end = x.nextLine(end) {
		if !mayBeSigned(line) {
			continue
		}
		if r.read(line, start, end); !s.judgeLine(x, &r) {
			return false
		}
	}
	x.judged = true
	return true
}

func (s *Server) judgeLine(x *exchange, r *request) bool {
	if r.err != nil || !r.signed() {
		return true
	}
	if key := s.keyToCheck(x, r); !key.IsZero() {
		if !s.signatures.allow(x.peer.Addr()) {
			return false
		}
		r.key, r.verdict = key, forged
		if wire.Verify(r.line, r.Sig, key) {
			r.verdict = genuine
		}
	}
	x.signed = append(x.signed, *r)
	return true
}

// judgedLine returns the signed line that begins at start, or nil.
func (x *exchange) judgedLine(start int) *request {
	for i := range x.signed {
		if x.signed[i].start == start {
			return &x.signed[i]
		}
	}
	return nil
}

// keyToCheck returns the key that a line's signature is worth checking with, if
// there is one. A name that nobody has may be registered by then: by an earlier
// line of the same datagram.
func (s *Server) keyToCheck(x *exchange, r *request) (none foyer.Key) {
	if r.checkTime(s.clock.now()) != nil {
		return none
	}
	reg, err := s.store.Find(r.name)
	known := err == nil
	switch {
	case r.Verb == wire.Register && s.authorized(r.key) && (!known || reg.Owner == r.key):
		return r.key
	case r.Verb == wire.Register:
		return none
	case known:
		return reg.Owner
	}
	for i := range slices.Backward(x.signed) {
		if earlier := &x.signed[i]; earlier.Verb == wire.Register && string(earlier.name) == string(r.name) {
			return earlier.key
		}
	}
	return none
}

// checkSignature refuses r if it was not signed with key. Only verifiers check
// signatures, and only so many: where none has looked, because the name has
// changed hands since or does so in this very datagram, the retry is judged by
// who has it then.
func (r *request) checkSignature(key foyer.Key) *foyer.Error {
	switch {
	case r.verdict == unchecked || r.key != key:
		return errChangedHands
	case r.verdict == forged:
		return errBadSignature
	}
	return nil
}

var errChangedHands = &foyer.Error{Code: foyer.Busy, Text: "the name has just changed hands; try again"}
