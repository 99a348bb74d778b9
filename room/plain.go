package room

import (
	"bytes"
	"net/netip"
	"time"

	"foyer/wire"
	"foyer/world"
)

// keepGoodbye is how long the last reply to a plain player who left is kept for
// retries of that request.
const keepGoodbye = 10 * time.Second

// goodbye is the reply to the request by which a plain player left.
type goodbye struct {
	from    netip.AddrPort
	request string
	reply   string
}

func (s *Server) handlePlain(now time.Time, d datagram) {
	line := bytes.Trim(d.data, " \t\r\n")
	if len(line) == 0 || s.closing {
		return
	}
	var c world.Command
	if len(d.data) <= wire.MaxDatagram {
		c = world.ParseCommand(string(line))
	}
	p := s.plain[d.from]
	if p == nil {
		s.handleStranger(now, d, string(line), c)
		return
	}
	p.heard = now
	s.earn(now, p, len(d.data))
	if c.Verb != world.Invalid && c.Verb != world.Join && !p.shown {
		p.shown = s.hasPlaces(d.from.Addr(), plainPlayer)
	}
	switch {
	case c.Verb == world.Invalid && isReply(&wire.Tags{}, line):
		// Two servers that took each other's complaints for requests would
		// never stop.
	case c.Verb == world.Say && !s.mayTalk(now, p):
		s.sendTo(now, p, []byte(wire.TooFast))
	default:
		reply := s.do(p, c)
		if reply.Left {
			s.goodbyes.add(now, d.from.Addr(), goodbye{d.from, string(line), reply.Text}, false)
		}
		s.sendTo(now, p, []byte(reply.Text))
		s.follow(now, p, c, reply)
	}
}

// handleStranger answers a plain line from an address without a player.
func (s *Server) handleStranger(now time.Time, d datagram, line string, c world.Command) {
	left := s.goodbyes.find(now, func(g *goodbye) bool { return g.from == d.from })
	switch {
	case left != nil && left.request == line:
		s.answer(now, d, []byte(left.reply))
	case c.Verb == world.Join:
		s.joinPlain(now, d, c.Text)
	case c.Verb != world.Invalid:
		s.answer(now, d, []byte(wire.NotHere))
	case !isReply(&wire.Tags{}, []byte(line)):
		s.answer(now, d, []byte(wire.InvalidCommand))
	}
}

// joinPlain lets a plain player in if the budget allows the summary to be sent;
// otherwise the join is ignored, as if the datagram had been lost.
func (s *Server) joinPlain(now time.Time, d datagram, name string) {
	if !s.affords(now, d.from.Addr(), stranger, world.MaxText) {
		s.log.debug(now, "not let in: too much for strangers", "from", d.from)
		return
	}
	if !s.plainComes.has(now, d.from.Addr(), 1) {
		s.answer(now, d, []byte(wire.CannotJoin+errComing.Text))
		return
	}
	called, reply := s.admit(now, d.from, name, stranger)
	if !reply.OK {
		s.answer(now, d, []byte(reply.Text))
		return
	}
	s.plainComes.spend(now, d.from.Addr(), 1)
	s.goodbyes.forget(now, func(g *goodbye) bool { return g.from == d.from })
	p := newPlayer(now, called, d.from)
	s.sendTo(now, p, []byte(reply.Text))
	s.enter(now, p, reply.Notice)
}
