package discovery

import (
	"errors"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
)

// A replies holds the reply lines to one request datagram, gathered into
// datagrams of at most [wire.MaxDatagram] bytes, and counts what they cost
// against the request's budget.
type replies struct {
	buf    []byte
	spans  [maxSpans]span // finished datagrams in buf
	n      int
	start  int // of the datagram that is being filled
	mark   int // of the line that is being written
	budget int // bytes that may still be sent, headers counted

	results []result // one for each line in buf
}

type span struct{ start, end int }

// maxSpans is what three times the largest request fills at most: a datagram
// is ended only when the next line, of at most half its size, does not fit.
const maxSpans = 8

func (r *replies) reset(budget int) {
	r.buf, r.n, r.start, r.mark, r.budget = r.buf[:0], 0, 0, 0, budget
	r.results = r.results[:0]
}

// room returns how long the next line may be if it is to be sent.
func (r *replies) room() int {
	return min(wire.MaxDatagram, r.budget-wire.HeaderSize)
}

// line returns the buffer to append the next reply line to; end takes it back.
func (r *replies) line() []byte {
	if len(r.buf) > r.start {
		r.buf = append(r.buf, '\n')
	}
	r.mark = len(r.buf)
	return r.buf
}

// fits reports whether a reply line of n bytes may be sent, and whether it joins
// the datagram that is being filled.
func (r *replies) fits(n int) (fits, joins bool) {
	filled := len(r.buf) - r.start
	if filled > 0 && r.mark == len(r.buf) {
		filled-- // the separator that line wrote
	}
	if filled > 0 && filled+1+n <= wire.MaxDatagram {
		return n+1 <= r.budget, true
	}
	return n+wire.HeaderSize <= r.budget && n <= wire.MaxDatagram && r.n < maxSpans-1, false
}

// end accepts the line that was appended to the buffer from line, which says res, or
// takes it back and returns false if it would outgrow the budget.
func (r *replies) end(buf []byte, res result) bool {
	n := len(buf) - r.mark
	fits, joins := r.fits(n)
	ended := r.mark // where the datagram before this line ends
	if ended > r.start {
		ended--
	}
	switch {
	case !fits:
		r.buf = r.buf[:ended]
		return false
	case joins:
		r.budget -= n + 1
	default:
		r.budget -= n + wire.HeaderSize
		if ended > r.start {
			r.spans[r.n] = span{r.start, ended}
			r.n++
			r.start = r.mark
		}
	}
	r.buf = buf
	r.results = append(r.results, res)
	return true
}

// datagrams appends the replies, ready to be sent, to ds. They are views into
// the buffer.
func (x *exchange) datagrams(ds []udp.Datagram) []udp.Datagram {
	r := &x.out
	for _, s := range r.spans[:r.n] {
		ds = append(ds, udp.Datagram{Data: r.buf[s.start:s.end], Peer: x.peer, Local: x.local})
	}
	if len(r.buf) > r.start {
		ds = append(ds, udp.Datagram{Data: r.buf[r.start:], Peer: x.peer, Local: x.local})
	}
	return ds
}

// refuse answers a line with err. The first line of a datagram
// is always answered, if need be with a message cut short; a later one only if
// the whole answer fits.
func (x *exchange) refuse(r *request, err *foyer.Error, now uint64) bool {
	limit := wire.MaxDatagram
	if len(x.out.buf) == 0 {
		limit = x.out.room()
	}
	return x.out.end(wire.AppendRefusal(x.out.line(), &r.Tags, err, now, limit), refused(r.Verb, err.Code))
}

// unreadable answers a line with an err.
func (x *exchange) unreadable(r *request) (fits bool) {
	if wire.IsReply(r.line) {
		return true
	}
	refusal, ok := errors.AsType[*foyer.Error](r.err)
	if !ok {
		refusal = &foyer.Error{Code: foyer.Malformed, Text: r.err.Error()}
	}
	return x.refuse(r, refusal, 0)
}
