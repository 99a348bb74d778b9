package room

import (
	"net/netip"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
	"foyer/world"
)

const (
	// plainYields is after how long of silence a plain player gives way to
	// somebody who wants to come into a full room.
	plainYields = 5 * time.Minute

	// plainReturns and playerReturns are after how long a plain and a tagged
	// player give way to somebody of the same name and host, who is most likely
	// the same person, cut off and back: they need not wait for themselves to
	// be gone. A plain one may be forged, command and all, and so gives way to a
	// tagged player of the same name from any host.
	plainReturns  = time.Minute
	playerReturns = playerSilence / 2

	// showsBy is after how long a plain newcomer who has not sent more than a
	// join gives way to a tagged player of the same name. Where it is their
	// place that is wanted, they give way at once.
	showsBy = 10 * time.Second

	// maxPerHost is how many players may come from one host, of each standing,
	// so that no single one can fill the room, and who forges source addresses
	// keeps no tagged player out. Loopback addresses are exempt.
	maxPerHost = world.MaxPlayers / 4
)

// admit lets a player into the room, or says why not. A plain player comes in as
// a stranger.
func (s *Server) admit(now time.Time, from netip.AddrPort, name string, k standing) (world.Player, world.Reply) {
	s.giveNameBack(now, from.Addr(), name, k)
	// Whom the room would refuse in any case needs no place.
	if player, err := world.ParsePlayer(name); err == nil && s.players[player] == nil {
		if k == stranger && !s.hasPlaces(from.Addr(), stranger) {
			s.evict(now, udp.Host(from.Addr()))
		}
		// Strangers who show that they are there must find a place as well.
		if !s.hasPlaces(from.Addr(), max(k, plainPlayer)) {
			return "", world.Reply{Code: foyer.Busy, Text: wire.TooMany}
		}
		if len(s.players) >= world.MaxPlayers {
			s.makePlace(now)
		}
	}
	return s.room.Join(name, k == tagged)
}

// giveNameBack has a player leave who has the name of the one who comes, and is
// most likely the same person, or never was there.
func (s *Server) giveNameBack(now time.Time, from netip.Addr, name string, k standing) {
	player, err := world.ParsePlayer(name)
	p := s.players[player]
	switch {
	case err != nil || p == nil:
	case udp.Host(p.addr.Addr()) == udp.Host(from) && now.Sub(p.heard) >= p.returns():
		s.lose(now, p, "was silent and has come back")
	case k == tagged && p.session == nil && now.Sub(p.heard) >= plainReturns:
		s.lose(now, p, "was silent and may never have been there")
	case k == tagged && p.standing() == stranger && now.Sub(p.came) >= showsBy:
		s.lose(now, p, "has not shown to be there")
	}
}

// hasPlaces reports whether one more player of a standing may come from a host.
func (s *Server) hasPlaces(addr netip.Addr, k standing) bool {
	if addr.IsLoopback() {
		return true
	}
	host, n := udp.Host(addr), 0
	for _, p := range s.players {
		if udp.Host(p.addr.Addr()) == host && p.standing() == k {
			n++
		}
	}
	return n < maxPerHost
}

// makePlace has somebody leave a full room: a stranger of the host that has most
// of them, or else a plain player who was silent for long.
func (s *Server) makePlace(now time.Time) {
	strangers := make(map[netip.Addr]int)
	var silent *player
	for _, p := range s.plain {
		if p.standing() == stranger {
			strangers[udp.Host(p.addr.Addr())]++
		} else if silent == nil || p.heard.Before(silent.heard) {
			silent = p
		}
	}
	if len(strangers) > 0 {
		s.evict(now, mostCrowded(strangers))
	} else if silent != nil && now.Sub(silent.heard) >= plainYields {
		s.lose(now, silent, "was silent in a full room")
	}
}

// evict has the first of a host's strangers leave.
func (s *Server) evict(now time.Time, host netip.Addr) {
	var first *player
	for _, p := range s.plain {
		if p.standing() == stranger && udp.Host(p.addr.Addr()) == host && (first == nil || p.came.Before(first.came)) {
			first = p
		}
	}
	if first != nil {
		s.lose(now, first, "has not shown to be there")
	}
}

// mayTalk reports whether the others may be told one thing more of a player, and
// books it.
func (s *Server) mayTalk(now time.Time, p *player) bool {
	hosts := &s.plainTalk
	if p.session != nil {
		hosts = &s.talk
	}
	p.talk.refill(now, talkRate, talkBurst)
	p.own.refill(now, ownRate, ownBurst)
	switch {
	case p.talk.tokens < 1:
		return false
	case p.own.tokens >= 1:
		p.own.tokens--
	case !hosts.spend(now, p.addr.Addr(), 1):
		return false
	}
	p.talk.tokens--
	return true
}

// returns is how long the player must have been silent to be taken for cut off
// when they seem to come again.
func (p *player) returns() time.Duration {
	if p.session == nil {
		return plainReturns
	}
	return playerReturns
}

// do carries out a command of a player who is in the room. One who joins again
// under the same name sees the room again, and the others are told nothing.
func (s *Server) do(p *player, c world.Command) world.Reply {
	if c.Verb != world.Join {
		return s.room.Do(p.name, c)
	}
	if name, err := world.ParsePlayer(c.Text); err != nil || name != p.name {
		return world.Reply{Text: wire.AlreadyHere + string(p.name)}
	}
	return s.room.Do(p.name, world.Command{Verb: world.Look})
}

// follow does what follows from a command that was carried out.
func (s *Server) follow(now time.Time, p *player, c world.Command, reply world.Reply) {
	if reply.Left {
		s.strike(now, p, reply.Took)
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
