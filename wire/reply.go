package wire

import (
	"bytes"
	"unicode/utf8"

	"foyer"
)

// A Reply is the answer to one request. The byte slices are views into it.
type Reply struct {
	Tags
	OK   bool
	Text []byte // after OK or NOTOK: an address, a message, a room's text, or nothing
}

var errReply = &foyer.Error{Code: foyer.Malformed, Text: "the reply begins with neither OK nor NOTOK"}

// ParseReply reads a reply without its line ending. Its error is a
// [*foyer.Error] of code malformed.
func ParseReply(line []byte) (r Reply, err error) {
	r.Tags, line, err = ParseTags(line)
	if err != nil {
		return r, err
	}
	word, text, _ := bytes.Cut(line, []byte{' '})
	switch string(word) {
	case "OK":
		r.OK = true
	case "NOTOK":
	default:
		return r, errReply
	}
	r.Text = text
	return r, nil
}

// IsReply reports whether a line is a reply, as far as a server can tell: its
// first word after the tags is OK or NOTOK. If servers answered replies, even
// with a refusal, one datagram with a forged source could make two of them
// answer each other for ever.
func IsReply(line []byte) bool {
	_, err := ParseReply(line)
	return err == nil
}

// Err returns the reply as a refusal, or nil if it is OK. A refusal in the
// plain dialect has no code.
func (r *Reply) Err() error {
	if r.OK {
		return nil
	}
	return &foyer.Error{Code: foyer.Code(r.Code), Text: string(r.Text)}
}

// AppendReply appends r as one line.
func AppendReply(dst []byte, r *Reply) []byte {
	dst = AppendTags(dst, &r.Tags)
	if r.OK {
		dst = append(dst, "OK"...)
	} else {
		dst = append(dst, "NOTOK"...)
	}
	if len(r.Text) > 0 {
		dst = append(dst, ' ')
		dst = append(dst, r.Text...)
	}
	return dst
}

// AppendOK appends the reply that grants a request with tags t: with its id,
// with ttl in seconds unless that is negative, and with text after OK unless
// that is empty. A request without tags gets a reply without tags.
func AppendOK(dst []byte, t *Tags, ttl int64, text string) []byte {
	start := len(dst)
	if t.Any {
		dst = appendTag(dst, "id=", t.ID)
		if ttl >= 0 {
			dst = appendNumberTag(dst, "ttl=", uint64(ttl))
		}
		if len(dst) > start {
			dst[start] = '@'
			dst = append(dst, ' ')
		}
	}
	dst = append(dst, "OK"...)
	if text != "" {
		dst = append(dst, ' ')
		dst = append(dst, text...)
	}
	return dst
}

// AppendRefusal appends the reply that refuses a request with tags t because of
// err. The message is cut between characters so that the reply has at most
// limit bytes. now goes into the tag of that name unless it is 0.
func AppendRefusal(dst []byte, t *Tags, err *foyer.Error, now uint64, limit int) []byte {
	start := len(dst)
	if t.Any {
		dst = appendTag(dst, "id=", t.ID)
		dst = append(dst, ";code="...)
		dst = append(dst, err.Code...)
		if now != 0 {
			dst = appendNumberTag(dst, "now=", now)
		}
		dst[start] = '@'
		dst = append(dst, ' ')
	}
	dst = append(dst, "NOTOK "...)
	dst = append(dst, err.Text...)
	if end := start + max(limit, 0); len(dst) > end {
		for end > start && !utf8.RuneStart(dst[end]) {
			end--
		}
		dst = dst[:end]
	}
	return dst
}
