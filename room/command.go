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
	// plainYields is how long a plain player must be silent to give way to
	// somebody who wants to enter a full room.
	plainYields = 5 * time.Minute

	// plainReturns and playerReturns are how long a plain and a tagged player
	// must be silent to give way to somebody of the same name from the same
	// host: most likely the same person, who has reconnected and should not
	// have to wait for their old session to expire. A plain player may be
	// forged, and gives way to a tagged player of the same name from any host.
	plainReturns  = time.Minute
	playerReturns = playerSilence / 2

	// showsBy is after how long a plain newcomer who has sent nothing but a
	// join gives way to a tagged player of the same name. If the room is full
	// they give way at once.
	showsBy = 10 * time.Second

	// maxPerHost is how many players of each standing may come from one host,
	// so that no host can fill the room by itself, and forged source addresses
	// do not keep tagged players out. Loopback addresses are exempt.
	maxPerHost = world.MaxPlayers / 4
)

// admit lets a player into the room, or says why not. A plain player comes in as
// a stranger.
func (s *Server) admit(now time.Time, from netip.AddrPort, name string, k standing) (world.Player, world.Reply) {
	s.giveNameBack(now, from.Addr(), name, k)
	// Nobody is evicted for a player whom the room would refuse anyway.
	if player, err := world.ParsePlayer(name); err == nil && s.players[player] == nil {
		if k == stranger && !s.hasPlaces(from.Addr(), stranger) {
			s.evict(now, udp.Host(from.Addr()))
		}
		// A stranger becomes a plain player with their next command, and needs
		// a place then too.
		if !s.hasPlaces(from.Addr(), max(k, plainPlayer)) {
			return "", world.Reply{Code: foyer.Busy, Text: wire.TooMany}
		}
		if len(s.players) >= world.MaxPlayers {
			s.makePlace(now)
		}
	}
	return s.room.Join(name, k == tagged)
}

// giveNameBack removes the player who has the newcomer's name, if that is most
// likely the same person or never was there.
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
		s.lose(now, p, "sent nothing but a join")
	}
}

// hasPlaces reports whether a host may have one more player of a standing.
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

// makePlace evicts somebody from a full room: a stranger of the host that has
// most of them, or else a plain player who has been silent for plainYields.
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

// evict removes the stranger of a host who came first.
func (s *Server) evict(now time.Time, host netip.Addr) {
	var first *player
	for _, p := range s.plain {
		if p.standing() == stranger && udp.Host(p.addr.Addr()) == host && (first == nil || p.came.Before(first.came)) {
			first = p
		}
	}
	if first != nil {
		s.lose(now, first, "sent nothing but a join")
	}
}

// mayTalk reports whether the player may have the others told one more message,
// and takes it from the budgets.
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

// returns is how long the player must have been silent for a newcomer of the
// same name to be taken for them.
func (p *player) returns() time.Duration {
	if p.session == nil {
		return plainReturns
	}
	return playerReturns
}

// do carries out a command of a player who is in the room. Joining again under
// the same name shows the room again and tells the others nothing.
func (s *Server) do(p *player, c world.Command) world.Reply {
	if c.Verb != world.Join {
		return s.room.Do(p.name, c)
	}
	if name, err := world.ParsePlayer(c.Text); err != nil || name != p.name {
		return world.Reply{Text: wire.AlreadyHere + string(p.name)}
	}
	return s.room.Do(p.name, world.Command{Verb: world.Look})
}

// follow applies the consequences of a command that was carried out.
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
