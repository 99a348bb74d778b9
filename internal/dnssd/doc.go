// Package dnssd announces a registry on the local network and finds registries
// there: multicast DNS (RFC 6762) with DNS-based service discovery (RFC 6763).
//
// A registry of the world "Old Mill" is these records. Registries of the same
// world share the instance, each with an SRV record of its own, so only the
// addresses have the cache-flush bit:
//
//	_foyer._udp.local.            PTR   Old Mill._foyer._udp.local.
//	Old Mill._foyer._udp.local.   SRV   0 0 7666 foyer-4d1c0b5e9a7f2230.local.
//	Old Mill._foyer._udp.local.   TXT   "txtvers=1" "world=Old Mill"
//	foyer-4d1c0b5e9a7f2230.local. A     10.66.0.1
//	foyer-4d1c0b5e9a7f2230.local. AAAA  fd66::1
//
// The host's name is made up at each start, so it is unique without probing
// (section 8.1 of RFC 6762), and no other program's. The addresses are those of
// the interface on which the question arrived.
//
// [Announce] is the responder, [Browse] a one-shot querier (section 5.1). Both
// believe nothing that comes from outside the link, and nothing that does is
// answered: an open responder would amplify attacks with forged senders.
package dnssd

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Service is the type of service that registries announce.
const Service = "_foyer._udp"

const (
	domain      = ".local."
	serviceName = Service + domain
	typesName   = "_services._dns-sd._udp" + domain // section 9 of RFC 6763

	// maxWorld is how long the name of a world is at most, in bytes: a label.
	maxWorld = 63
)

var errWorld = errors.New("it is 1 to 63 bytes of text in one line, without a dot")

// CheckWorld reports whether a world can be announced under that name. A dot
// separates labels, and the codec knows no way to have one in a label.
func CheckWorld(name string) error {
	bad := func(r rune) bool { return r == '.' || !unicode.IsPrint(r) }
	if name == "" || len(name) > maxWorld || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) || strings.TrimSpace(name) != name {
		return errWorld
	}
	return nil
}
