package dns

import (
	"encoding/binary"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12 // RFC 1035, section 4.1.1
	optSize    = 11 // an OPT record without options (RFC 6891, section 6.1.2)

	maxName  = 255 // RFC 1035, section 2.3.4
	maxLabel = 63
)

// The bits of a header's second field.
const (
	bitQR      = 1 << 15
	maskOpcode = 15 << 11
	bitAA      = 1 << 10
	bitTC      = 1 << 9
	bitRD      = 1 << 8
)

// Types and an extended code (RFC 6891, section 9) that dnsmessage does not name.
const (
	typeIXFR = dnsmessage.Type(251) // RFC 1995

	rcodeBadVersion = dnsmessage.RCode(16)
)

// A query is a message that asks for something. Its slices are views into that.
type query struct {
	header   []byte
	question []byte // name, type and class, or empty if they cannot be read
	name     []byte // in wire format, with the root
	kind     dnsmessage.Type
	class    dnsmessage.Class
	rcode    dnsmessage.RCode // what is wrong with it

	// Of the OPT record, if there is one.
	edns bool
	size uint16 // what the client takes in over UDP, in bytes
	do   bool   // DNSSEC OK, which is copied (RFC 3225, section 3)
}

// parse reads a message, and reports whether it is to be answered: whatever is no
// query gets nothing, so that two servers never talk to each other without end.
func (q *query) parse(msg []byte) bool {
	*q = query{}
	if len(msg) < headerSize {
		return false
	}
	q.header = msg[:headerSize]
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&bitQR != 0 {
		return false
	}
	well := q.parseBody(msg)
	switch {
	case flags&maskOpcode != 0:
		q.rcode = dnsmessage.RCodeNotImplemented
	case !well:
		q.rcode = dnsmessage.RCodeFormatError
	}
	return true
}

func (q *query) parseBody(msg []byte) (well bool) {
	questions, answers := binary.BigEndian.Uint16(msg[4:]), binary.BigEndian.Uint16(msg[6:])
	authorities, additionals := binary.BigEndian.Uint16(msg[8:]), binary.BigEndian.Uint16(msg[10:])
	if questions != 1 {
		return false
	}
	rest := msg[headerSize:]
	n := nameLength(rest)
	if n == 0 || len(rest) < n+4 {
		return false
	}
	q.name = rest[:n]
	q.kind = dnsmessage.Type(binary.BigEndian.Uint16(rest[n:]))
	q.class = dnsmessage.Class(binary.BigEndian.Uint16(rest[n+2:]))
	q.question, rest = rest[:n+4], rest[n+4:]
	if answers != 0 || authorities != 0 {
		return false
	}
	for range additionals {
		if rest = q.parseAdditional(rest); rest == nil {
			return false
		}
	}
	return len(rest) == 0
}

// nameLength returns the length of the name that b begins with, the root included,
// or 0 if that is none. A question's name is the first in its message, so there is
// nothing that it could point to.
func nameLength(b []byte) int {
	for i := 0; i < len(b) && i < maxName; i += 1 + int(b[i]) {
		switch {
		case b[i] == 0:
			return i + 1
		case b[i] > maxLabel:
			return 0
		}
	}
	return 0
}

// parseAdditional reads the record that b begins with, and returns what is behind it,
// or nil if it is none. Records other than OPT mean nothing here.
func (q *query) parseAdditional(b []byte) (rest []byte) {
	i := 0
	for i < len(b) && b[i] != 0 && b[i] <= maxLabel {
		i += 1 + int(b[i])
	}
	switch {
	case i >= len(b):
		return nil
	case b[i] != 0: // a pointer
		i++
	}
	i++
	if len(b) < i+10 {
		return nil
	}
	kind := dnsmessage.Type(binary.BigEndian.Uint16(b[i:]))
	class := binary.BigEndian.Uint16(b[i+2:])
	ttl := binary.BigEndian.Uint32(b[i+4:])
	end := i + 10 + int(binary.BigEndian.Uint16(b[i+8:]))
	if len(b) < end {
		return nil
	}
	if kind == dnsmessage.TypeOPT {
		if q.edns || i != 1 || !areOptions(b[i+10:end]) {
			return nil
		}
		q.edns, q.size, q.do = true, class, ttl&(1<<15) != 0
		if version := byte(ttl >> 16); version != 0 {
			q.rcode = rcodeBadVersion
		}
	}
	return b[end:]
}

// areOptions reports whether b is a row of EDNS options, of which none means anything
// here.
func areOptions(b []byte) bool {
	for len(b) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < n {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}
