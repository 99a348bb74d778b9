// Package wire is the line protocol that Foyer's programs speak over UDP:
// parsers that return views into the datagram, and appenders that write into
// the caller's buffer. Neither allocates for a valid request.
//
// A line is plain, or has tags in front in the form of IRCv3 message tags:
//
//	plain     REGISTER room://192.0.2.7:40001 Great Hall
//	          \verb--/ \address-------------/ \name---/
//
//	tagged    @id=018f…;ttl=30;key=w3Zt…;sig=Qm9v… REGISTER room://… Great Hall
//	          \tags-----------------------------/ ^ \plain line-------------/
//	                                              one space
//
//	tags      "@" tag *( ";" tag )
//	tag       key "=" value
//	key       1*( A-Z a-z 0-9 . _ ~ + / - )
//	value     *( A-Z a-z 0-9 . _ ~ + / = - )
//
//	reply     OK                         OK room://192.0.2.7:40001
//	          NOTOK message              @id=018f…;code=name-taken NOTOK message
//
// A datagram to a registry holds one line, or several separated by "\n", in at
// most [MaxDatagram] bytes. Rooms use the same tags, [ParseTags], before
// commands and texts of their own, [InvalidCommand] and the constants below it
// are the texts on which rooms and players must agree. docs/protocol.md is the
// reference.
package wire

// MaxDatagram is the largest request datagram, and the largest reply, in bytes
// without IP and UDP headers: what fits into IPv6's minimum link of 1,280 bytes
// (RFC 8200, section 5) in one piece.
const MaxDatagram = 1232

// A reply is never more than Amplification times the size of its request, both
// counted with HeaderSize bytes of IPv4 and UDP header (RFC 9000, section 8,
// chose three for the same reason).
const (
	Amplification = 3
	HeaderSize    = 28
)

// ReplyBudget returns how many bytes, headers counted, may be sent in answer to
// a request datagram of n bytes. Each reply datagram takes its length and
// [HeaderSize] from it.
func ReplyBudget(n int) int { return Amplification * (n + HeaderSize) }
