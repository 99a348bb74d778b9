package roomserver

import (
	"bytes"
	"errors"
	"hash/maphash"
	"time"

	"foyer/room"
	"foyer/wire"
	"foyer/world"
)

// Refusals of the tagged dialect that are no words of the room.
var (
	errNoID           = &room.Error{Code: room.Malformed, Text: "a request with tags needs an id"}
	errTooLarge       = room.Errorf(room.TooLarge, "the datagram has more than %d bytes", wire.MaxDatagram)
	errIDReused       = &room.Error{Code: room.IDReused, Text: "the id belongs to another request"}
	errStale          = &room.Error{Code: room.StaleRequest, Text: "the id is older than what this room remembers"}
	errUnknownSession = &room.Error{Code: "unknown-session", Text: notHere}
	errBehind         = &room.Error{Code: room.Busy, Text: "others cannot keep up, try again"}
)

// notHere is what somebody hears who is not in the room.
const notHere = "you are not in this room"

const (
	// Refused joins are remembered too: a late copy of one must not bring in a
	// player whom nobody is playing.
	keepRefused = keepDeparted
	maxRefused  = 256
)

// refusals are the replies to joins that were refused, oldest first.
type refusals []refusal

type refusal struct {
	recorded
	at time.Time
}

func (r *refusals) find(now time.Time, id room.ID) *recorded {
	for i := range *r {
		if f := &(*r)[i]; f.id == id && now.Sub(f.at) < keepRefused {
			return &f.recorded
		}
	}
	return nil
}

func (r *refusals) record(now time.Time, rec recorded) {
	if len(*r) == maxRefused || len(*r) > 0 && now.Sub((*r)[0].at) >= keepRefused {
		*r = (*r)[1:]
	}
	*r = append(*r, refusal{rec, now})
}

// request is a tagged request with an id.
type request struct {
	datagram
	tags    wire.Tags
	command world.Command
	print   uint64
}

func (s *Server) handleTagged(now time.Time, d datagram) {
	tags, line, err := wire.ParseTags(d.data)
	session := s.sessions[string(tags.Sid)]
	if err == nil && session != nil && session.player != nil {
		session.player.heard = now
		session.player.addr = d.from
		if tags.HasAck {
			session.acknowledge(tags.Ack)
			s.pump(now, session.player)
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
	s.handleRequest(now, session, &request{d, tags, world.ParseCommand(string(line)), maphash.Bytes(s.seed, line)})
}

func refusalOf(err error) *room.Error {
	if e, ok := errors.AsType[*room.Error](err); ok {
		return e
	}
	return &room.Error{Code: room.Malformed, Text: err.Error()}
}

// isReply reports whether a line looks like an answer, or like the words of
// another room, rather than like a request.
func isReply(t *wire.Tags, line []byte) bool {
	word, _, _ := bytes.Cut(line, []byte{' '})
	return t.Code != nil || t.HasEv || string(word) == "OK" || string(word) == "NOTOK" ||
		string(line) == "Invalid command" || string(line) == notHere
}

// handleRequest answers a request from its record, or carries it out and
// records the reply.
func (s *Server) handleRequest(now time.Time, session *session, q *request) {
	rec := s.find(now, session, q.tags.UUID)
	switch {
	case rec != nil && rec.print != q.print:
		s.refuse(now, q.datagram, &q.tags, errIDReused, 0)
	case rec != nil:
		s.send(now, q.from, rec.reply)
	case s.closing:
		// The player will hear of it; nobody is let in any more.
	case session != nil && session.isStale(q.tags.UUID):
		s.refuse(now, q.datagram, &q.tags, errStale, session.fresh())
	case q.command.Verb == world.Join && (session == nil || session.player == nil):
		s.joinTagged(now, q)
	case session == nil || session.player == nil:
		s.refuse(now, q.datagram, &q.tags, errUnknownSession, 0)
	case isHeard(q.command.Verb) && s.isHeldUp(now, session.player):
		s.refuse(now, q.datagram, &q.tags, errBehind, 0)
	default:
		s.carryOut(now, session.player, q)
	}
}

// find returns the reply recorded under an id: one of the session, or one to a
// join, which came before there was a session.
func (s *Server) find(now time.Time, session *session, id room.ID) *recorded {
	if session != nil {
		if rec := session.find(id); rec != nil {
			return rec
		}
	}
	if joined := s.joins[id]; joined != nil {
		return &joined.joined
	}
	return s.refused.find(now, id)
}

// isHeard reports whether the others are told of a command, so that it waits
// for those who are behind. Leaving is told as well, but never waits.
func isHeard(v world.Verb) bool { return v == world.Say || v == world.Join }

// isHeldUp reports whether somebody other than speaker has to catch up first.
func (s *Server) isHeldUp(now time.Time, speaker *player) bool {
	for _, p := range s.players {
		if p != speaker && p.session != nil && p.session.isCatchingUp(now) {
			return true
		}
	}
	return false
}

func (s *Server) joinTagged(now time.Time, q *request) {
	if s.isHeldUp(now, nil) {
		s.refuse(now, q.datagram, &q.tags, errBehind, 0)
		return
	}
	name, reply := s.admit(now, q.from, q.command.Text, true)
	if !reply.OK {
		line := replyLine(q, reply, "")
		if !reply.Code.Temporary() {
			s.refused.record(now, recorded{q.tags.UUID, q.print, line})
		}
		s.send(now, q.from, line)
		return
	}
	session := newSession()
	session.joined = recorded{q.tags.UUID, q.print, replyLine(q, reply, session.sid)}
	s.send(now, q.from, session.joined.reply)
	s.enter(now, &player{name: name, addr: q.from, heard: now, session: session}, reply.Notice)
}

// carryOut does what a player in the room asks for.
func (s *Server) carryOut(now time.Time, p *player, q *request) {
	session := p.session
	reply := s.do(p, q.command)
	line := replyLine(q, reply, "")
	session.record(recorded{q.tags.UUID, q.print, line})
	s.send(now, q.from, line)
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

// refuse answers a line that is not carried out, in at most three times its
// size; the refusal is not recorded. A clock other than 0 goes into the tag
// now.
func (s *Server) refuse(now time.Time, d datagram, t *wire.Tags, err *room.Error, clock uint64) {
	s.out = wire.AppendRefusal(s.out[:0], t, err, clock, wire.ReplyBudget(len(d.data))-wire.HeaderSize)
	s.send(now, d.from, s.out)
}
