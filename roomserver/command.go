package roomserver

import (
	"net/netip"
	"time"

	"foyer/room"
	"foyer/world"
)

const (
	// plainYields is after how long of silence a plain player gives way to
	// somebody who wants to come into a full room.
	plainYields = 5 * time.Minute

	// plainReturns and playerReturns are after how long a plain and a tagged
	// player give way to somebody of the same name and host, who is most likely
	// the same person, cut off and back: they need not wait for themselves to
	// be gone.
	plainReturns  = time.Minute
	playerReturns = playerSilence / 2

	// maxPerHost is how many players may come from one host, so that no single
	// one can fill the room. Loopback addresses are exempt.
	maxPerHost = world.MaxPlayers / 4

	// tooMany is what the next one is told.
	tooMany = "There are too many players from where you are"
)

// admit lets a player into the room, or says why not.
func (s *Server) admit(now time.Time, from netip.AddrPort, name string, tracked bool) (world.Player, world.Reply) {
	s.makeWay(now, from.Addr(), name)
	if n := s.countFrom(from.Addr()); n >= maxPerHost && !from.Addr().IsLoopback() {
		return "", world.Reply{Code: room.Busy, Text: tooMany}
	}
	return s.room.Join(name, tracked)
}

// makeWay has a player leave who is in the way of the one who comes, and was
// silent for long.
func (s *Server) makeWay(now time.Time, from netip.Addr, name string) {
	if player, err := world.ParsePlayer(name); err == nil {
		p := s.players[player]
		if p != nil && hostOf(p.addr.Addr()) == hostOf(from) && now.Sub(p.heard) >= p.returns() {
			s.lose(now, p, "was silent and has come back")
		}
	}
	if len(s.players) < world.MaxPlayers {
		return
	}
	var silent *player
	for _, p := range s.plain {
		if silent == nil || p.heard.Before(silent.heard) {
			silent = p
		}
	}
	if silent != nil && now.Sub(silent.heard) >= plainYields {
		s.lose(now, silent, "was silent in a full room")
	}
}

// returns is how long the player must have been silent to be taken for cut off
// when they seem to come again.
func (p *player) returns() time.Duration {
	if p.session == nil {
		return plainReturns
	}
	return playerReturns
}

func (s *Server) countFrom(addr netip.Addr) (n int) {
	host := hostOf(addr)
	for _, p := range s.players {
		if hostOf(p.addr.Addr()) == host {
			n++
		}
	}
	return n
}

// do carries out a command of a player who is in the room. One who joins again
// under the same name sees the room again, and the others are told nothing.
func (s *Server) do(p *player, c world.Command) world.Reply {
	if c.Verb != world.Join {
		return s.room.Do(p.name, c)
	}
	if name, err := world.ParsePlayer(c.Text); err != nil || name != p.name {
		return world.Reply{Text: "You are already here as " + string(p.name)}
	}
	return s.room.Do(p.name, world.Command{Verb: world.Look})
}

// follow does what follows from a command that was carried out.
func (s *Server) follow(now time.Time, p *player, c world.Command, reply world.Reply) {
	if reply.Left {
		s.strike(now, p)
	}
	s.logCommand(now, p, c, reply)
	s.tell(now, p.name, reply.Notice)
}

func (s *Server) logCommand(now time.Time, p *player, c world.Command, reply world.Reply) {
	if !reply.OK {
		return
	}
	switch c.Verb {
	case world.Take:
		s.log.info(now, "took", "player", p.name, "item", c.Text)
	case world.Drop:
		s.log.info(now, "dropped", "player", p.name, "item", c.Text)
	case world.Say:
		s.log.info(now, "said", "player", p.name, "text", c.Text)
	case world.Go:
		s.log.info(now, "left", "player", p.name, "heading", c.Direction, "to", reply.Text)
	case world.Exit:
		s.log.info(now, "left", "player", p.name, "why", "exit")
	}
}
