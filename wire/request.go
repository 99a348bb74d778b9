package wire

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"foyer"
)

// A Verb is what a request to a registry asks for.
type Verb uint8

// The verbs. Renew belongs to the tagged dialect.
const (
	Lookup Verb = iota + 1
	Register
	Deregister
	Renew
)

// String returns the verb as requests spell it.
func (v Verb) String() string {
	switch v {
	case Lookup:
		return "LOOKUP"
	case Register:
		return "REGISTER"
	case Deregister:
		return "DEREGISTER"
	case Renew:
		return "RENEW"
	}
	return "Verb(" + strconv.Itoa(int(v)) + ")"
}

// HasAddress reports whether requests with this verb have an address before the
// name.
func (v Verb) HasAddress() bool { return v == Register || v == Renew }

// A Request is one line to a registry. The byte slices are views into it.
type Request struct {
	Tags
	Verb    Verb
	Address []byte // as sent, not validated: see foyer.ParseAddress
	Name    []byte // as sent, not validated: see foyer.ParseName
}

var (
	errNoVerb    = &foyer.Error{Code: foyer.Malformed, Text: "the line is empty"}
	errNoAddress = &foyer.Error{Code: foyer.Malformed, Text: "the address is missing"}
	errNoName    = &foyer.Error{Code: foyer.Malformed, Text: "the name is missing"}
)

// ParseRequest reads one line, without its line ending. The verb is
// case-insensitive; words are separated by one or more spaces, and trailing
// spaces are ignored. On an error, a [*foyer.Error] of code malformed or
// unknown-verb, the Request still holds the ID if it was readable.
func ParseRequest(line []byte) (r Request, err error) {
	err = r.Parse(line)
	return r, err
}

// Parse is [ParseRequest] into a Request that can be reused, which saves a loop
// clearing and copying one per line.
func (r *Request) Parse(line []byte) error {
	r.Verb, r.Address, r.Name = 0, nil, nil
	line, err := r.parse(line)
	if err != nil {
		return err
	}
	verb, rest := cutWord(line)
	if len(verb) == 0 {
		return errNoVerb
	}
	if r.Verb = parseVerb(verb); r.Verb == 0 {
		return foyer.Errorf(foyer.UnknownVerb, "unknown request %s", quote(verb))
	}
	if r.Verb.HasAddress() {
		if r.Address, rest = cutWord(rest); len(r.Address) == 0 {
			return errNoAddress
		}
	}
	if r.Name = trimSpaces(rest); len(r.Name) == 0 {
		return errNoName
	}
	return nil
}

// trimSpaces returns b without the spaces at its ends.
func trimSpaces(b []byte) []byte {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// cutWord returns the first word of b and what follows it.
func cutWord(b []byte) (word, rest []byte) {
	for len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	word, rest, _ = bytes.Cut(b, []byte{' '})
	return word, rest
}

func parseVerb(word []byte) Verb {
	switch {
	case equalFold(word, "LOOKUP"):
		return Lookup
	case equalFold(word, "REGISTER"):
		return Register
	case equalFold(word, "RENEW"):
		return Renew
	case equalFold(word, "DEREGISTER"):
		return Deregister
	}
	return 0
}

// equalFold compares in ASCII; upper is in upper case.
func equalFold(word []byte, upper string) bool {
	if len(word) != len(upper) {
		return false
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// quote returns the beginning of untrusted input, safe to print.
func quote(b []byte) string {
	const most = 20
	if len(b) > most {
		b = b[:most]
		for len(b) > 0 && !utf8.Valid(b) && most-len(b) < utf8.UTFMax {
			b = b[:len(b)-1]
		}
		return strconv.Quote(string(b) + "…")
	}
	return strconv.Quote(string(b))
}

// AppendRequest appends r as one line: the tags id, ttl, key, exits and those of
// rooms, in that order, and the plain line. [Sign] adds a signature afterwards.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = AppendTags(dst, &r.Tags)
	dst = append(dst, r.Verb.String()...)
	if r.Verb.HasAddress() {
		dst = append(dst, ' ')
		dst = append(dst, r.Address...)
	}
	dst = append(dst, ' ')
	return append(dst, r.Name...)
}

// AppendTags appends the tags that are set, except Sig, and the space after
// them; nothing if none is set.
func AppendTags(dst []byte, t *Tags) []byte {
	start := len(dst)
	dst = appendTag(dst, "id=", t.ID)
	if t.HasTTL {
		dst = appendNumberTag(dst, "ttl=", t.TTL)
	}
	dst = appendTag(dst, "key=", t.Key)
	dst = appendTag(dst, "exits=", t.Exits)
	dst = appendTag(dst, "code=", t.Code)
	if t.Now != 0 {
		dst = appendNumberTag(dst, "now=", t.Now)
	}
	dst = appendTag(dst, "sid=", t.Sid)
	if t.HasEv {
		dst = appendNumberTag(dst, "ev=", t.Ev)
	}
	if t.Lost != 0 {
		dst = appendNumberTag(dst, "lost=", t.Lost)
	}
	if t.HasAck {
		dst = appendNumberTag(dst, "ack=", t.Ack)
	}
	dst = appendTag(dst, "cookie=", t.Cookie)
	dst = appendTag(dst, "ticket=", t.Ticket)
	if len(dst) == start {
		return dst
	}
	dst[start] = '@'
	return append(dst, ' ')
}

// appendTag puts ";" before every tag; AppendTags turns the first into "@".
func appendTag(dst []byte, key string, value []byte) []byte {
	if value == nil {
		return dst
	}
	dst = append(dst, ';')
	dst = append(dst, key...)
	return append(dst, value...)
}

func appendNumberTag(dst []byte, key string, value uint64) []byte {
	dst = append(dst, ';')
	dst = append(dst, key...)
	return strconv.AppendUint(dst, value, 10)
}
