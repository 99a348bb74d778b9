package room

import (
	"bytes"
	"errors"
	"hash/maphash"
	"net/netip"
	"time"

	"foyer"
	"foyer/wire"
	"foyer/world"
)

// Refusals that exist in the tagged dialect only.
var (
	errNoID           = &foyer.Error{Code: foyer.Malformed, Text: "a request with tags needs an id"}
	errTooLarge       = foyer.Errorf(foyer.TooLarge, "the datagram has more than %d bytes", wire.MaxDatagram)
	errIDReused       = &foyer.Error{Code: foyer.IDReused, Text: "the id belongs to another request"}
	errStale          = &foyer.Error{Code: foyer.StaleRequest, Text: "the id is older than what this room remembers"}
	errUnknownSession = &foyer.Error{Code: foyer.UnknownSession, Text: wire.NotHere}
	errTooFast        = &foyer.Error{Code: foyer.Busy, Text: "that is too fast, try again in a moment"}
	errComing         = &foyer.Error{Code: foyer.Busy, Text: "too many are coming from where you are, try again in a moment"}
	errCookie         = &foyer.Error{Code: foyer.BadCookie, Text: "ask again with this cookie"}
)

// Refused joins are remembered too: a late copy must not bring in a player whom
// nobody is playing.
const keepRefused = keepDeparted

// When the reply to a join is dropped early for lack of space, its id is kept
// for as long as its cookie can be valid. hostJoinRate limits a host's joins:
// it has more than spentPerHost within that time only if some are refused.
const (
	keepSpent    = 2 * cookieWindow
	spentPerHost = 2048
	spentInAll   = 16384 // some 4 MB
)

// request is a tagged request with an id.
type request struct {
	datagram
	tags    wire.Tags
	cookie  bool // it has a valid one
	command world.Command
	print   uint64
}

func (s *Server) handleTagged(now time.Time, d datagram) {
	tags, line, err := wire.ParseTags(d.data)
	session := s.sessions[string(tags.Sid)]
	proven, cookie := false, false
	if err == nil {
		cookie = tags.Cookie != nil && s.cookies.valid(now, d.from.Addr(), tags.Cookie)
		proven = cookie || session != nil && d.from.Addr() == session.player.addr.Addr()
	}
	// Anything from elsewhere is ignored: otherwise whoever has left an address
	// could make the room go on sending to it.
	if proven && session != nil {
		session.player.addr = d.from
		if !session.left {
			session.player.heard = now
			if tags.HasAck {
				session.acknowledge(tags.Ack)
				s.pump(now, session.player)
			}
		}
	}
	line = bytes.Trim(line, " \t\r\n")
	tooLarge := len(d.data) > wire.MaxDatagram
	switch {
	case session == nil && isReply(&tags, line):
		return
	case err != nil:
		s.refuse(now, d, &tags, refusalOf(err), 0)
		return
	case tooLarge:
		s.refuse(now, d, &tags, errTooLarge, 0)
		return
	case tags.ID == nil && len(line) == 0:
		return // an acknowledgement by itself
	case tags.ID == nil:
		s.refuse(now, d, &tags, errNoID, 0)
		return
	}
	s.handleRequest(now, session, proven, &request{d, tags, cookie, world.ParseCommand(string(line)), maphash.Bytes(s.seed, line)})
}

func refusalOf(err error) *foyer.Error {
	if e, ok := errors.AsType[*foyer.Error](err); ok {
		return e
	}
	return &foyer.Error{Code: foyer.Malformed, Text: err.Error()}
}

// isReply reports whether a line looks like an answer, or like a message of
// another room, rather than like a request.
func isReply(t *wire.Tags, line []byte) bool {
	word, _, _ := bytes.Cut(line, []byte{' '})
	return t.Code != nil || t.HasEv || string(word) == "OK" || string(word) == "NOTOK" ||
		string(line) == wire.InvalidCommand || string(line) == wire.NotHere
}

// handleRequest answers a request from its record, or carries it out and
// records the reply. Until the address is proven it only asks for a cookie:
// replies may be longer than requests, and joins take up a place.
func (s *Server) handleRequest(now time.Time, session *session, proven bool, q *request) {
	rec := s.find(now, session, q.tags.UUID)
	joins := q.command.Verb == world.Join && (session == nil || session.left)
	switch {
	case s.closing && rec == nil:
		// The player will hear of it; nobody else is let in.
	case session == nil && !joins:
		s.refuse(now, q.datagram, &q.tags, errUnknownSession, 0)
	case !proven:
		s.askForCookie(now, q)
	case rec != nil && rec.print != q.print:
		s.refuse(now, q.datagram, &q.tags, errIDReused, 0)
	case rec != nil && rec.reply == nil, rec == nil && joins && s.isSpent[q.tags.UUID]:
		s.refuse(now, q.datagram, &q.tags, errStale, 0)
	case rec != nil:
		s.write(now, q.from, rec.reply)
	case session != nil && session.isStale(q.tags.UUID):
		s.refuse(now, q.datagram, &q.tags, errStale, session.fresh())
	case joins && !q.cookie:
		// The sid of a departed player proves the address for longer than
		// keepSpent.
		s.askForCookie(now, q)
	case joins:
		s.joinTagged(now, q)
	case session.left:
		s.refuse(now, q.datagram, &q.tags, errUnknownSession, 0)
	case q.command.Verb == world.Say && !s.mayTalk(now, session.player):
		s.refuse(now, q.datagram, &q.tags, errTooFast, 0)
	default:
		s.carryOut(now, session.player, q)
	}
}

// askForCookie answers a request from an address that may be forged, with at
// most three times its size.
func (s *Server) askForCookie(now time.Time, q *request) {
	r := wire.Reply{Tags: wire.Tags{
		ID: q.tags.ID, Code: []byte(errCookie.Code), Cookie: []byte(s.cookies.of(now, q.from.Addr())),
	}, Text: []byte(errCookie.Text)}
	s.out = wire.AppendReply(s.out[:0], &r)
	s.write(now, q.from, s.out)
}

// find returns the reply recorded for an id: one of the session, or one to a
// join, which came before there was a session.
func (s *Server) find(now time.Time, session *session, id foyer.ID) *recorded {
	if session != nil {
		if rec := session.find(id); rec != nil {
			return rec
		}
	}
	if joined := s.joins[id]; joined != nil {
		return &joined.joined
	}
	return s.refused.find(now, func(r *recorded) bool { return r.id == id })
}

// spend keeps the id of a join whose reply is dropped, unless its cookie is no
// longer valid.
func (s *Server) spend(now time.Time, host netip.Addr, joined time.Time, id foyer.ID) {
	if now.Sub(joined) < keepSpent {
		s.isSpent[id] = true
		s.spent.add(now, host, id, false)
	}
}

func (s *Server) joinTagged(now time.Time, q *request) {
	if !s.coming.has(now, q.from.Addr(), 1) {
		s.refuse(now, q.datagram, &q.tags, errComing, 0)
		return
	}
	name, reply := s.admit(now, q.from, q.command.Text, tagged)
	if !reply.OK {
		line := replyLine(q, reply, "")
		if !reply.Code.Temporary() {
			s.refused.add(now, q.from.Addr(), recorded{q.tags.UUID, q.print, line}, false)
		}
		s.write(now, q.from, line)
		return
	}
	s.coming.spend(now, q.from.Addr(), 1)
	p := newPlayer(now, name, q.from)
	p.session = newSession(p)
	p.session.joined = recorded{q.tags.UUID, q.print, replyLine(q, reply, p.session.sid)}
	s.sendTo(now, p, p.session.joined.reply)
	s.enter(now, p, reply.Notice)
}

// carryOut carries out a request of a player in the room.
func (s *Server) carryOut(now time.Time, p *player, q *request) {
	reply := s.do(p, q.command)
	line := replyLine(q, reply, "")
	p.session.record(recorded{q.tags.UUID, q.print, line})
	s.sendTo(now, p, line)
	s.follow(now, p, q.command, reply)
}

// replyLine returns the line that answers q, with a sid unless it is empty.
func replyLine(q *request, reply world.Reply, sid string) []byte {
	r := wire.Reply{Tags: wire.Tags{ID: q.tags.ID}, OK: reply.OK, Text: []byte(reply.Text)}
	if reply.Code != "" {
		r.Code = []byte(reply.Code)
	}
	if sid != "" {
		r.Sid = []byte(sid)
	}
	return wire.AppendReply(nil, &r)
}

// refuse answers a line that is not carried out, with at most three times its
// size, and does not record the refusal. A clock other than 0 goes into the tag
// now.
func (s *Server) refuse(now time.Time, d datagram, t *wire.Tags, err *foyer.Error, clock uint64) {
	s.out = wire.AppendRefusal(s.out[:0], t, err, clock, wire.ReplyBudget(len(d.data))-wire.HeaderSize)
	s.write(now, d.from, s.out)
}
