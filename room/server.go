package room

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
	"foyer/world"
)

const (
	// playerSilence and plainSilence are how long a tagged and a plain player
	// may be silent before they count as gone.
	playerSilence = 30 * time.Second
	plainSilence  = time.Hour

	// farewell is how long a closing room waits for its tagged players to
	// acknowledge that.
	farewell = time.Second

	// backlog bounds the datagrams between the goroutine that reads them and
	// the one that handles them; more wait in the kernel's buffer.
	backlog = 256

	// stall is how late the server's timer may be before that time counts as
	// one in which the process did not run and could hear nobody.
	stall = time.Second

	// maxFailures is how many reads in a row may fail.
	maxFailures = 1000

	// tickGap keeps the timer from firing for each player separately.
	tickGap = 10 * time.Millisecond
)

// Options configure a Server.
type Options struct {
	// PlainOnly makes the server speak the plain dialect only, like rooms from
	// before there were tags: a line that begins with tags is an invalid
	// command.
	PlainOnly bool

	// Logger gets what happens in the room; nil discards it.
	Logger *slog.Logger
}

// A Server serves one room.
type Server struct {
	// Set once.
	conn      udp.PacketConn
	plainOnly bool
	log       *limitedLog
	seed      maphash.Seed
	idle      chan struct{} // holds one element until Serve is called; whoever takes it owns the state
	calls     chan func()   // run by the goroutine of Serve
	done      chan struct{} // closed when Serve has returned

	// Owned by the goroutine of Serve.
	room       *world.Room
	players    map[world.Player]*player   // at most world.MaxPlayers
	plain      map[netip.AddrPort]*player // the plain ones
	sessions   map[string]*session        // by sid, of present and departed players
	joins      map[foyer.ID]*session      // the same, by the id of the join
	departed   memory[*session]
	refused    memory[recorded] // joins
	spent      memory[foyer.ID] // of joins whose replies were dropped
	isSpent    map[foyer.ID]bool
	goodbyes   memory[goodbye] // of plain players who left
	cookies    cookies
	talk       budgets // for what tagged players say; see budget.go
	plainTalk  budgets // the same for plain ones
	coming     budgets // for joins of tagged players
	plainComes budgets // the same for plain ones
	plainBytes budgets // of bytes, for sending to plain players
	strangers  bucket  // of bytes, for sending to all strangers
	timer      *time.Timer
	due        time.Time // when the timer fires
	ticked     time.Time // when it fired last
	closing    bool      // players have been told to disconnect
	out        []byte    // the datagram being written
}

// player is somebody in the room.
type player struct {
	name    world.Player
	addr    netip.AddrPort // last known
	came    time.Time
	heard   time.Time
	session *session // nil for a plain player
	shown   bool     // a plain player who has sent more than a join
	talk    bucket   // for messages to the others
	own     bucket   // for messages that do not count against their host
}

func newPlayer(now time.Time, name world.Player, addr netip.AddrPort) *player {
	return &player{name: name, addr: addr, came: now, heard: now, own: bucket{at: now}}
}

func (p *player) standing() standing {
	switch {
	case p.session != nil:
		return tagged
	case p.shown:
		return plainPlayer
	}
	return stranger
}

// silence is how long the player may be silent before they count as gone.
func (p *player) silence() time.Duration {
	if p.session == nil {
		return plainSilence
	}
	return playerSilence
}

// New returns a server for r on conn. From now on r belongs to the server.
func New(conn udp.PacketConn, r *world.Room, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		conn:       conn,
		plainOnly:  o.PlainOnly,
		log:        &limitedLog{to: o.Logger},
		seed:       maphash.MakeSeed(),
		idle:       make(chan struct{}, 1),
		calls:      make(chan func()),
		done:       make(chan struct{}),
		room:       r,
		players:    make(map[world.Player]*player),
		plain:      make(map[netip.AddrPort]*player),
		sessions:   make(map[string]*session),
		joins:      make(map[foyer.ID]*session),
		isSpent:    make(map[foyer.ID]bool),
		goodbyes:   memory[goodbye]{keep: keepGoodbye, perHost: perHost, inAll: inAll},
		cookies:    newCookies(),
		talk:       budgets{rate: hostTalkRate, burst: hostTalkBurst},
		plainTalk:  budgets{rate: hostTalkRate, burst: hostTalkBurst},
		coming:     budgets{rate: hostJoinRate, burst: hostJoinBurst},
		plainComes: budgets{rate: hostJoinRate, burst: hostJoinBurst},
		plainBytes: budgets{rate: hostRate, burst: hostBurst},
	}
	s.departed = memory[*session]{keep: keepDeparted, perHost: perHost, inAll: departedInAll, forgot: func(now time.Time, e *kept[*session]) {
		delete(s.sessions, e.thing.sid)
		delete(s.joins, e.thing.joined.id)
		s.spend(now, e.of.host, e.thing.player.came, e.thing.joined.id)
	}}
	s.refused = memory[recorded]{keep: keepRefused, perHost: perHost, inAll: inAll, forgot: func(now time.Time, e *kept[recorded]) {
		s.spend(now, e.of.host, e.at, e.thing.id)
	}}
	s.spent = memory[foyer.ID]{keep: keepSpent, perHost: spentPerHost, inAll: spentInAll, forgot: func(_ time.Time, e *kept[foyer.ID]) {
		delete(s.isSpent, e.thing)
	}}
	s.idle <- struct{}{}
	return s
}

type datagram struct {
	data []byte // one byte more than wire.MaxDatagram if it was longer than that
	from netip.AddrPort
}

// Serve serves the room until ctx ends. Then it sends every player
// "disconnect", gives tagged players up to a second to acknowledge that, and
// returns nil. Its error is the socket's, if that fails. It is called once. It
// does not close the socket, but leaves it with a read deadline in the past.
func (s *Server) Serve(ctx context.Context) error {
	<-s.idle
	defer close(s.done)
	arrived := make(chan datagram, backlog)
	quit := make(chan struct{})
	var failure error
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(arrived)
		failure = s.receive(arrived, quit)
	})
	defer reader.Wait()
	defer s.conn.SetReadDeadline(time.Unix(1, 0))
	defer close(quit)

	s.timer = time.NewTimer(time.Hour)
	defer s.timer.Stop()
	stop := ctx.Done()
	var end <-chan time.Time
	for {
		select {
		case d, ok := <-arrived:
			if !ok {
				return failure
			}
			s.handle(time.Now(), d)
		case f := <-s.calls:
			f()
		case <-s.timer.C:
			s.tick(time.Now())
		case <-stop:
			stop = nil
			end = time.After(farewell)
			s.sendFarewell(time.Now())
		case <-end:
			return nil
		}
		if s.closing && s.allAcknowledged() {
			return nil
		}
	}
}

// receive passes on what arrives until the socket fails or quit is closed.
func (s *Server) receive(arrived chan<- datagram, quit <-chan struct{}) error {
	buf := make([]byte, 1<<16) // UDP's maximum: some systems report an error for what is cut off
	failures := 0              // in a row
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		select {
		case <-quit:
			return nil
		default:
		}
		if err != nil {
			// Some systems report errors of datagrams sent earlier here; a
			// socket that returns nothing else is broken.
			if failures++; failures > maxFailures || errors.Is(err, net.ErrClosed) {
				return err
			}
			continue
		}
		failures = 0
		d := datagram{slices.Clone(buf[:min(n, wire.MaxDatagram+1)]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		select {
		case arrived <- d:
		case <-quit:
			return nil
		}
	}
}

// Players returns the names of those in the room, in the order in which they
// came. It may be called from any goroutine at any time, and returns nil once
// Serve has returned.
func (s *Server) Players() (names []world.Player) {
	s.call(func() { names = s.room.Players() })
	return names
}

// Summary returns what somebody looking into the room sees. It may be called
// from any goroutine at any time, and is empty once Serve has returned.
func (s *Server) Summary() (text string) {
	s.call(func() { text = s.room.Summary("") })
	return text
}

// call runs f on the goroutine that owns the state, or on this one before
// Serve, and waits for it.
func (s *Server) call(f func()) {
	ran := make(chan struct{})
	select {
	case s.calls <- func() { f(); close(ran) }:
		<-ran
	case <-s.idle:
		f()
		s.idle <- struct{}{}
	case <-s.done:
	}
}

// handle processes one datagram.
func (s *Server) handle(now time.Time, d datagram) {
	if len(d.data) > 0 && d.data[0] == '@' && !s.plainOnly {
		s.handleTagged(now, d)
		return
	}
	s.handlePlain(now, d)
}

// tell sends text to everybody but one player. It does not wait for slow ones:
// see session.push.
func (s *Server) tell(now time.Time, except world.Player, text string) {
	if text == "" {
		return
	}
	for _, name := range s.room.Players() {
		p := s.players[name]
		switch {
		case name == except, s.isSparing(now, p):
		case p.session == nil:
			s.sendTo(now, p, []byte(text))
		default:
			p.session.push(text)
			s.pump(now, p)
		}
	}
}

// sendTo sends b to a player, unless their host's budget is used up.
func (s *Server) sendTo(now time.Time, p *player, b []byte) {
	s.sendAs(now, p.addr, p.standing(), b)
}

// enter adds a player whom the room has accepted.
func (s *Server) enter(now time.Time, p *player, notice string) {
	s.players[p.name] = p
	dialect := "tagged"
	if p.session == nil {
		dialect = "plain"
		s.plain[p.addr] = p
	} else {
		s.sessions[p.session.sid] = p.session
		s.joins[p.session.joined.id] = p.session
	}
	s.wakeBy(now.Add(p.silence()))
	s.log.info(now, "entered", "player", p.name, "from", p.addr, "dialect", dialect)
	s.tell(now, p.name, notice)
}

// lose removes a player who has disappeared.
func (s *Server) lose(now time.Time, p *player, why string) {
	notice := s.room.Lose(p.name)
	s.strike(now, p, false)
	s.log.info(now, "left", "player", p.name, "why", why)
	s.tell(now, p.name, notice)
}

// strike removes a player from the server's tables. The replies to a tagged
// player are kept for retries, and longest for one who took things along: if
// their direction were not answered they would count as gone, and the things
// with them.
func (s *Server) strike(now time.Time, p *player, took bool) {
	delete(s.players, p.name)
	if p.session == nil {
		delete(s.plain, p.addr)
		return
	}
	p.session.depart()
	s.departed.add(now, p.addr.Addr(), p.session, took)
	s.wakeBy(now.Add(keepDeparted))
}

// wakeBy makes tick run at t at the latest.
func (s *Server) wakeBy(t time.Time) {
	if earliest := s.ticked.Add(tickGap); t.Before(earliest) {
		t = earliest
	}
	if s.due.IsZero() || t.Before(s.due) {
		s.due = t
		if s.timer != nil {
			s.timer.Reset(time.Until(t))
		}
	}
}

// tick does what is due: it resends what was not acknowledged, and drops silent
// players and sessions that are over.
func (s *Server) tick(now time.Time) {
	if late := now.Sub(s.due); !s.due.IsZero() && late > stall {
		for _, p := range s.players {
			p.heard = now
		}
	}
	s.due, s.ticked = time.Time{}, now
	for _, name := range s.room.Players() {
		p := s.players[name]
		if p == nil {
			continue // removed when another one left
		}
		if until := p.heard.Add(p.silence()); now.Before(until) {
			s.wakeBy(until)
		} else {
			s.lose(now, p, "was not heard from for "+p.silence().String())
			continue
		}
		if p.session != nil {
			s.pump(now, p)
		}
	}
	s.refused.expire(now)
	s.spent.expire(now)
	s.goodbyes.expire(now)
	if next := s.departed.expire(now); !next.IsZero() {
		s.wakeBy(next)
	}
}

// pump sends a tagged player what is due, and schedules the rest.
func (s *Server) pump(now time.Time, p *player) {
	next := p.session.sendDue(now, func(e *event) {
		s.out = wire.AppendTags(s.out[:0], &wire.Tags{Sid: []byte(p.session.sid), Ev: e.number, HasEv: true, Lost: e.lost})
		s.out = append(s.out, e.text...)
		s.sendTo(now, p, s.out)
	})
	if !next.IsZero() {
		s.wakeBy(next)
	}
}

// sendFarewell tells every player that the room is closing.
func (s *Server) sendFarewell(now time.Time) {
	s.closing = true
	for _, name := range s.room.Players() {
		p := s.players[name]
		if p.session == nil {
			s.sendTo(now, p, []byte(wire.Disconnect))
			continue
		}
		p.session.pushLast(now, wire.Disconnect)
		s.pump(now, p)
	}
	if len(s.players) > 0 { // a room that was never registered has no players, and need not be logged
		s.log.info(now, "closing", "players", len(s.players))
	}
}

func (s *Server) allAcknowledged() bool {
	for _, p := range s.players {
		if p.session != nil && !p.session.caughtUp() {
			return false
		}
	}
	return true
}
