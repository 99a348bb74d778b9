package discovery

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/wire"
)

// An exchange is a request datagram on its way, with the replies to it so far. It
// owns the memory of both, some 3 KiB, at most 30 KiB, and belongs to whoever has the
// pointer: reader, verifier or writer.
type exchange struct {
	conn  udp.Conn // where it has come in and is answered
	peer  netip.AddrPort
	local netip.Addr

	received time.Duration // when its batch was, see Server.since

	in     []byte // the datagram
	unread int    // where in it the lines begin that have not been read

	// requests are lines that have been read, stepLength at most, of 496 bytes each;
	// those before at are answered. A datagram can have 600 lines: whoever needs the
	// next ones reads them, so that few wait in memory.
	requests []request
	at       int

	// signed are the signed lines, when they have been judged: copies that bear what
	// the verifier has found. There are 22 at most, as each takes 56 bytes or more.
	signed []request
	judged bool

	out replies

	marked struct { // by mark
		out   replies
		start int // of the line in hand
	}

	data [wire.MaxDatagram + 1]byte // one byte more shows what is too large
}

// stepLength is how many lines of datagrams are read before the first of them is
// answered, so that the store is asked for all their names at once. Among a million
// names, 16 that are looked up together cost a third of what they cost one by one,
// and 64 cost no less (go test -bench FindAll ./storage/bolt).
const stepLength = 16

// begin begins with a datagram, which has arrived in x's memory.
func (x *exchange) begin(d *udp.Datagram) {
	x.peer, x.local = d.Peer, d.Local
	x.in, x.unread = d.Data, 0
	x.requests, x.at = x.requests[:0], 0
	x.signed, x.judged = x.signed[:0], false
	x.out.reset(wire.ReplyBudget(len(d.Data)))
	if len(x.in) > wire.MaxDatagram {
		r := x.addRequest()
		r.Verb = 0
		r.Tags, _, _ = wire.ParseTags(x.in[:wire.MaxDatagram])
		r.line, r.start, r.end, r.err = nil, 0, len(x.in), errTooLarge
		x.unread = len(x.in)
	}
}

var errTooLarge = foyer.Errorf(foyer.TooLarge, "the request is longer than %d bytes", wire.MaxDatagram)

// read reads lines until n are in hand, or as many as there are, and reports
// whether there are any.
func (x *exchange) read(n int) bool {
	if len(x.requests)-x.at < n && x.unread < len(x.in) {
		x.requests = x.requests[:copy(x.requests, x.requests[x.at:])]
		x.at = 0
		for len(x.requests) < n {
			line, start, end := x.nextLine(x.unread)
			x.unread = end
			if line == nil {
				break
			}
			r := x.addRequest()
			if judged := x.judgedLine(start); judged != nil {
				*r = *judged
			} else {
				r.read(line, start, end)
			}
		}
	}
	return x.at < len(x.requests)
}

// request returns the line in hand, if read has found one.
func (x *exchange) request() *request { return &x.requests[x.at] }

// dropRest gives up the lines that are left.
func (x *exchange) dropRest() { x.at, x.unread = len(x.requests), len(x.in) }

// addRequest returns room for a line, which may have been used before.
func (x *exchange) addRequest() *request {
	n := len(x.requests)
	x.requests = slices.Grow(x.requests, 1)[:n+1]
	return &x.requests[n]
}

// nextLine returns the first line at or behind pos without its ending, where it
// begins, and where the next one does. A line is ended by "\n", or by "\r\n" as
// some clients write it; empty lines are passed over. At the end it is nil.
func (x *exchange) nextLine(pos int) (line []byte, start, end int) {
	for start = pos; start < len(x.in); start = end {
		line, end = x.in[start:], len(x.in)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, end = line[:i], start+i+1
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) > 0 {
			return line, start, end
		}
	}
	return nil, start, len(x.in)
}

// mark notes what there is, for rewind: the line in hand and the replies so far.
func (x *exchange) mark() { x.marked.out, x.marked.start = x.out, x.request().start }

// rewind undoes what was done since mark. Replies are only ever appended, so what
// was there then is there still. Lines that were dropped since are read again.
func (x *exchange) rewind() {
	x.out = x.marked.out
	for x.at = range x.requests {
		if x.requests[x.at].start == x.marked.start {
			x.unread = x.requests[len(x.requests)-1].end
			return
		}
	}
	x.requests, x.at, x.unread = x.requests[:0], 0, x.marked.start
}

// from returns the IP address that the datagram came from, as it is kept and
// compared: without the zone, which is this machine's name for a link.
func (x *exchange) from() netip.Addr { return x.peer.Addr().WithZone("") }

// A request is one line. What is wrong with it whatever the state of the registry
// is in err; without err its parts are what they should be.
type request struct {
	wire.Request
	line       []byte
	start, end int // where it begins in the datagram, and what is behind it
	err        error
	name       []byte        // canonical
	addr       foyer.Address // of a REGISTER
	exits      foyer.Exits   // of a REGISTER
	key        foyer.Key     // of a REGISTER; or with which the verdict was found

	verdict verdict        // on the signature
	known   *storage.Query // what is known of the name, see lookups.find
}

var (
	errKeyUnsigned   = &foyer.Error{Code: foyer.BadSignature, Text: "the request bears a key but no signature"}
	errSigWithoutKey = &foyer.Error{Code: foyer.Malformed, Text: "a signed REGISTER must bear its key"}
	errSigWithoutID  = &foyer.Error{Code: foyer.Malformed, Text: "a signed request must bear an id of version 7"}
)

// read reads a line into r, which may have been used before. With an err, r still
// bears the id, if it was readable.
func (r *request) read(line []byte, start, end int) {
	r.line, r.start, r.end, r.verdict = line, start, end, unchecked
	r.err = r.parse(line)
}

func (r *request) parse(line []byte) (err error) {
	if err = r.Parse(line); err != nil {
		return err
	}
	if r.name, err = foyer.CanonicalName(r.Name); err != nil {
		return err
	}
	if r.Verb == wire.Lookup {
		return nil
	}
	if r.Sig != nil && !r.isV7() {
		return errSigWithoutID
	}
	if r.Verb != wire.Register {
		return nil
	}
	r.key = foyer.Key{}
	switch {
	case r.Key != nil && r.Sig == nil:
		return errKeyUnsigned
	case r.Key == nil && r.Sig != nil:
		return errSigWithoutKey
	case r.Key != nil:
		if r.key, err = foyer.ParseKey(string(r.Key)); err != nil {
			return err
		}
	}
	if r.exits, err = foyer.DecodeExits(r.Exits); err != nil {
		return err
	}
	r.addr, err = foyer.ParseAddress(string(r.Address))
	return err
}

// signed reports whether the request's signature matters.
func (r *request) signed() bool { return r.Sig != nil && r.Verb != wire.Lookup }

// recorded reports whether the outcome may have to be kept, under the request's id:
// for a RENEW if it may change the lease's length. See decision.lasts.
func (r *request) recorded() bool {
	switch r.Verb {
	case wire.Lookup:
		return false
	case wire.Renew:
		return r.HasTTL && r.isV7()
	}
	return r.ID != nil
}

// isV7 reports whether the request bears an id of version 7 (RFC 9562, section
// 5.7), which begins with its time in Unix milliseconds.
func (r *request) isV7() bool {
	return r.ID != nil && r.UUID[6]>>4 == 7 && r.UUID[8]>>6 == 2
}

// idTime returns the time that an id of version 7 bears, in Unix milliseconds.
func (r *request) idTime() (ms int64) {
	for _, b := range r.UUID[:6] {
		ms = ms<<8 | int64(b)
	}
	return ms
}

// checkTime refuses an id of version 7 whose time is out of the window. Ids of
// other versions pass.
func (r *request) checkTime(now time.Time) *foyer.Error {
	if !r.isV7() {
		return nil
	}
	switch age := now.UnixMilli() - r.idTime(); {
	case age > idWindow.Milliseconds():
		return errTooOld
	case age < -idWindow.Milliseconds():
		return errTooFarAhead
	}
	return nil
}
