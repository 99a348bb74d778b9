package roomserver

import (
	"bytes"
	"net/netip"
	"time"

	"foyer/wire"
	"foyer/world"
)

const (
	// The last reply to a plain player who left is kept for retries of the
	// request that it answers.
	keepGoodbye = 10 * time.Second
	maxGoodbyes = 256
)

// goodbye is the reply to the request by which a plain player left.
type goodbye struct {
	request string
	reply   string
	at      time.Time
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
		s.handleStranger(now, d.from, string(line), c)
		return
	}
	p.heard = now
	switch {
	case c.Verb == world.Invalid && isReply(&wire.Tags{}, line):
		// Two servers that take each other's complaints for requests would
		// never stop.
	case isHeard(c.Verb) && s.isHeldUp(now, p):
		// As if the datagram were lost: this dialect has no other way to say it.
	default:
		reply := s.do(p, c)
		if reply.Left {
			s.remember(now, d.from, goodbye{string(line), reply.Text, now})
		}
		s.send(now, d.from, []byte(reply.Text))
		s.follow(now, p, c, reply)
	}
}

// handleStranger answers a plain line from an address at which no player is.
func (s *Server) handleStranger(now time.Time, from netip.AddrPort, line string, c world.Command) {
	if g := s.goodbyes[from]; g != nil && g.request == line && now.Sub(g.at) < keepGoodbye {
		s.send(now, from, []byte(g.reply))
		return
	}
	switch {
	case c.Verb == world.Join:
		s.joinPlain(now, from, c.Text)
	case c.Verb != world.Invalid:
		s.send(now, from, []byte(notHere))
	case !isReply(&wire.Tags{}, []byte(line)):
		s.send(now, from, []byte("Invalid command"))
	}
}

func (s *Server) joinPlain(now time.Time, from netip.AddrPort, name string) {
	if s.isHeldUp(now, nil) {
		return
	}
	called, reply := s.admit(now, from, name, false)
	s.send(now, from, []byte(reply.Text))
	if reply.OK {
		delete(s.goodbyes, from)
		s.enter(now, &player{name: called, addr: from, heard: now}, reply.Notice)
	}
}

// remember keeps a plain player's goodbye. If there are too many and none is
// old, this one is not kept.
func (s *Server) remember(now time.Time, addr netip.AddrPort, g goodbye) {
	if len(s.goodbyes) >= maxGoodbyes {
		for a, old := range s.goodbyes {
			if now.Sub(old.at) >= keepGoodbye {
				delete(s.goodbyes, a)
			}
		}
	}
	if len(s.goodbyes) < maxGoodbyes {
		s.goodbyes[addr] = &g
	}
}
