package discovery

import (
	"bytes"
	"errors"
	"net/netip"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
)

// An exchange is one request datagram on its way: which lines are still to be
// read, and the replies so far. The reader works on one of its own; what has to
// wait is copied into a job.
type exchange struct {
	lines
	out   replies
	peer  netip.AddrPort
	local netip.Addr

	// verdicts of the signed lines that a verifier has judged; nil before.
	verdicts []verdict
	judged   bool
}

// start begins with a datagram. The replies are written to out's memory.
func (x *exchange) start(d *udp.Datagram) {
	x.in, x.pos = d.Data, 0
	x.peer, x.local = d.Peer, d.Local
	x.verdicts, x.judged = x.verdicts[:0], false
	x.out.reset(wire.ReplyBudget(len(d.Data)))
}

// from returns the IP address that the datagram came from, as it is kept and
// compared: without the zone, which is this machine's name for a link.
func (x *exchange) from() netip.Addr { return x.peer.Addr().WithZone("") }

// A lines is the lines of a datagram from one of them on.
type lines struct {
	in  []byte
	pos int // where the next line begins
}

// next returns the next line without its ending, and where it ends; more is
// false when there is none. A line is ended by "\n", or by "\r\n" as some
// clients write it; empty lines are passed over.
func (l *lines) next() (line []byte, end int, more bool) {
	for l.pos < len(l.in) {
		line, end = l.in[l.pos:], len(l.in)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, end = line[:i], l.pos+i+1
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) > 0 {
			return line, end, true
		}
		l.pos = end
	}
	return nil, 0, false
}

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
}

type span struct{ start, end int }

// maxSpans is what three times the largest request fills at most: a datagram
// is ended only when the next line, of at most half its size, does not fit.
const maxSpans = 8

func (r *replies) reset(budget int) {
	*r = replies{buf: r.buf[:0], budget: budget}
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

// end accepts the line that was appended to the buffer from line, or takes it
// back and returns false if it would outgrow the budget.
func (r *replies) end(buf []byte) bool {
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

// refuse answers a line that bore tags t with err. The first line of a datagram
// is always answered, if need be with a message cut short; a later one only if
// the whole answer fits.
func (x *exchange) refuse(t *wire.Tags, err *foyer.Error, now uint64) bool {
	limit := wire.MaxDatagram
	if len(x.out.buf) == 0 {
		limit = x.out.room()
	}
	return x.out.end(wire.AppendRefusal(x.out.line(), t, err, now, limit))
}

// unreadable answers the line in r, which parse could not read.
func (x *exchange) unreadable(r *request, err error) (fits bool) {
	if wire.IsReply(r.line) {
		return true
	}
	refusal, ok := errors.AsType[*foyer.Error](err)
	if !ok {
		refusal = &foyer.Error{Code: foyer.Malformed, Text: err.Error()}
	}
	return x.refuse(&r.Tags, refusal, 0)
}
