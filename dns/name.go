package dns

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"foyer"
)

// maxDomain is the longest domain, in bytes in wire format. It leaves room for a
// label of full length and the two of a service.
const maxDomain = maxName - (1 + maxLabel) - len(serviceLabels)

const serviceLabels = "\x05_room\x04_udp"

// A zone is the domain that rooms are in.
type zone struct {
	domain      []byte // in wire format and lower case, with the root
	nameServers [][]byte
	serial      uint32
}

// parseName returns the wire format, in lower case, of a host's or a domain's name:
// labels of letters, digits, hyphens and underscores.
func parseName(s string) ([]byte, error) {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(strings.ToLower(s), "."), ".") {
		if label == "" || len(label) > maxLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return nil, fmt.Errorf("%q is not a domain: labels of letters, digits and hyphens with dots between them", s)
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	if wire = append(wire, 0); len(wire) > maxName {
		return nil, fmt.Errorf("%q is longer than %d bytes", s, maxName-2)
	}
	return wire, nil
}

func parseDomain(s string) ([]byte, error) {
	wire, err := parseName(s)
	if err == nil && len(wire) > maxDomain {
		err = fmt.Errorf("%q is longer than %d bytes: there is no room for names before it", s, maxDomain-2)
	}
	return wire, err
}

// A place is where in the zone a name is.
type place uint8

const (
	outside place = iota // of the domain
	apex                 // the domain itself
	nowhere              // there can be no such room
	between              // an empty non-terminal: there is nothing, but may be something below it
	atRoom               // NAME.DOMAIN
	atUDP                // _udp.NAME.DOMAIN
	atSRV                // _room._udp.NAME.DOMAIN
)

// A location is what a question's name means.
type location struct {
	place  place
	domain int    // where in the question's name the domain begins
	target int    // where NAME.DOMAIN begins
	room   []byte // the room's canonical name; valid until the next locate
	text   [foyer.MaxName]byte
}

// locate finds the place of a name in wire format.
func (z *zone) locate(name []byte, l *location) {
	l.place, l.room = outside, nil
	var starts [maxName / 2]uint8 // of the labels before the domain
	n := 0
	for at := 0; ; at += 1 + int(name[at]) {
		if rest := len(name) - at; rest == len(z.domain) {
			if !equalFold(name[at:], z.domain) {
				return
			}
			l.domain = at
			break
		} else if rest < len(z.domain) {
			return
		}
		starts[n] = uint8(at)
		n++
	}
	if n == 0 {
		l.place = apex
		return
	}
	// A long name is in several labels: those that end in a lone "_" have the one
	// to their left before them.
	label := func(i int) []byte { return name[starts[i]+1:][:name[starts[i]]] }
	first := n - 1
	for first >= 0 && continues(label(first)) {
		first--
	}
	if first < 0 {
		l.place = between
		return
	}
	l.place, l.target = nowhere, int(starts[first])
	var place place
	switch {
	case first == 0:
		place = atRoom
	case first == 1 && equalFold(label(0), []byte("_udp")):
		place = atUDP
	case first == 2 && equalFold(name[:len(serviceLabels)], []byte(serviceLabels)):
		place = atSRV
	default:
		return
	}
	text, ok := l.text[:0], true
	for i := first; i < n && ok; i++ {
		part := label(i)
		if i > first {
			part = part[:len(part)-1]
		}
		text, ok = appendDecoded(text, part)
	}
	if !ok {
		return
	}
	if room, err := foyer.CanonicalName(text); err == nil {
		l.place, l.room = place, room
	}
}

// continues reports whether a label ends in a "_" that escapes nothing.
func continues(label []byte) bool {
	for i := 0; i < len(label); i++ {
		switch {
		case label[i] != '_':
		case i == len(label)-1:
			return true
		case isDigit(label[i+1]):
			i += 3
		default:
			i++
		}
	}
	return false
}

// appendDecoded appends what a label means; see docs/dns.md. It takes no more than
// the room that dst has, so that the result is in the same memory if it is ok.
func appendDecoded(dst, label []byte) (_ []byte, ok bool) {
	if len(label) >= 4 && equalFold(label[:4], []byte("xn--")) {
		text, err := idna.Punycode.ToUnicode(strings.ToLower(string(label))) // an A-label (RFC 5890)
		if err != nil {
			return dst, false
		}
		label = []byte(text)
	}
	for i := 0; i < len(label); i++ {
		c := lower(label[i])
		if c == '_' {
			var n int
			if c, n = decodeEscape(label[i+1:]); n == 0 {
				return dst, false
			}
			i += n
		}
		if len(dst) == cap(dst) {
			return dst, false
		}
		dst = append(dst, c)
	}
	return dst, true
}

// decodeEscape returns the byte that an escape stands for, and the length of the
// escape without its "_", or 0 if it is none.
func decodeEscape(b []byte) (c byte, n int) {
	switch {
	case len(b) == 0:
	case b[0] == '_':
		return '_', 1
	case b[0] == '-':
		return ' ', 1
	case 'a' <= lower(b[0]) && lower(b[0]) <= 'z':
		return lower(b[0]) - 'a' + 'A', 1
	case len(b) >= 3 && isDigit(b[0]) && isDigit(b[1]) && isDigit(b[2]):
		if v := int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0'); v < 256 {
			return byte(v), 3
		}
	}
	return 0, 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// lower folds as the DNS does: ASCII only (RFC 4343).
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold reports whether a is b, which is in lower case. The lengths in names are
// no letters.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != b[i] {
			return false
		}
	}
	return true
}
