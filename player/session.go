package player

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/exchange"
	"foyer/internal/udp"
	"foyer/wire"
)

// messageBuffer is how many messages of a room wait for the caller. In the
// tagged dialect further ones are not acknowledged, and the room resends them
// until too many wait there; in the plain dialect they are lost.
const messageBuffer = 1024

// A Reply is a room's answer to a command.
type Reply struct {
	OK   bool   // the room did what was asked
	Text string // may have several lines

	// Code is why the command was refused; the plain dialect has no codes.
	Code foyer.Code
}

// A Session is a player's stay in one room, from [Join] until the player
// leaves by a command, the room ends it, or [Session.Close]. Its methods may be
// called at the same time; commands are sent one after the other.
//
// It has its own socket and goroutine, which Close ends, so that nothing sent
// late to one session reaches another.
type Session struct {
	log    *slog.Logger     // set once
	chance *exchange.Chance // set once
	name   string           // of the room, for people; set once
	conn   udp.PacketConn   // set once
	peer   talker           // the dialect; set once
	turn   chan struct{}    // holds one element while a request is in progress

	messages chan string   // closed by the reader
	over     chan struct{} // closed when err is set
	reader   sync.WaitGroup

	mu      sync.Mutex
	err     error            // why the session is over
	addrs   []netip.AddrPort // of the room; one of them when it has answered
	pending *pending         // the request in progress, or nil

	stopProbe context.CancelFunc // of the last probe, or nil
}

// A talker speaks one of the two dialects. Its methods are called with
// Session.mu held.
type talker interface {
	// request returns what to send for a command, and whether it may be resent.
	request(s *Session, command string) (p *pending, again bool)

	// took handles a datagram from the room. It returns why the session is
	// over, or nil.
	took(s *Session, datagram []byte, from netip.AddrPort) error

	// due returns when to call idle, zero for never.
	due() time.Time

	// idle does what is due without a command.
	idle(s *Session, now time.Time)
}

// A pending request waits for its reply.
type pending struct {
	command string
	reply   chan reply // holds one

	// Guarded by Session.mu.
	line     []byte
	id       [16]byte // in the tagged dialect
	cookie   []byte   // that the room wants with it, or nil
	renewals int      // how often the id was replaced
	cookies  int      // how often the room sent another one
	refused  *Reply   // the last temporary refusal
	since    int      // attempts since then
}

// A reply is what came for a pending request: the room's, or an error.
type reply struct {
	Reply
	err error
}

func newPending(command string) *pending {
	return &pending{command: command, line: []byte(command), reply: make(chan reply, 1)}
}

// answer delivers the first reply and drops further ones.
func (p *pending) answer(r reply) {
	select {
	case p.reply <- r:
	default:
	}
}

// Do sends a command and returns the room's reply, which may be a refusal ("You
// cannot go north from this room."). Its error is a
// [*client.NoAnswerError], or says
// why the session is over: see [Session.Err].
//
// A successful direction, and exit, end the session: the player has left, and
// the reply to a direction is the name of the room there.
//
// In the tagged dialect the room carries a command out once. In the plain one a
// command that must not be carried out twice is sent only once, and a lost
// datagram then means a [*client.NoAnswerError].
func (s *Session) Do(ctx context.Context, command string) (Reply, error) {
	command = strings.TrimSpace(command)
	if command == "" {
		return Reply{Text: wire.InvalidCommand}, nil // what the room would say; it does not reply to nothing
	}
	if strings.ContainsAny(command, "\r\n") || len(command) > maxCommand {
		return Reply{}, foyer.Errorf(foyer.TooLarge, "a command is one line of at most %d bytes", maxCommand)
	}
	s.mu.Lock()
	if s.stopProbe != nil {
		s.stopProbe()
	}
	s.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.over:
		return Reply{}, s.Err()
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	ctx, cancel := exchange.Limit(ctx)
	defer cancel()
	return s.exchange(ctx, command)
}

// maxCommand is the longest command, in bytes: what fits into a datagram of
// wire.MaxDatagram bytes with the tags.
const maxCommand = 1000

// exchange sends a command and waits for its reply, until ctx ends.
func (s *Session) exchange(ctx context.Context, command string) (Reply, error) {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return Reply{}, s.err
	}
	p, again := s.peer.request(s, command)
	s.pending = p
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending = nil
	}()
	times := exchange.Schedule{Chance: s.chance}
	sendErr := s.attempt(p, 0)
	timer := time.NewTimer(times.Next())
	defer timer.Stop()
	for attempts := 1; ; {
		select {
		case <-ctx.Done():
			return s.failure(ctx, p, sendErr)
		case r := <-p.reply:
			return r.Reply, r.err
		case <-s.over:
			select {
			case r := <-p.reply: // it came first
				return r.Reply, r.err
			default:
				return Reply{}, s.Err()
			}
		case <-timer.C:
			if again {
				sendErr = s.attempt(p, attempts)
				attempts++
				timer.Reset(times.Next())
			}
		}
	}
}

// failure returns the result of a request that ctx has ended.
func (s *Session) failure(ctx context.Context, p *pending, sendErr error) (Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.refused != nil && p.since == 0:
		return *p.refused, nil
	case p.refused != nil:
		return Reply{}, s.noAnswer(ctx, &foyer.Error{Code: p.refused.Code, Text: p.refused.Text})
	}
	return Reply{}, s.noAnswer(ctx, sendErr)
}

// noAnswer returns the error for a request that ctx has ended; err is what may
// explain it.
func (s *Session) noAnswer(ctx context.Context, err error) error {
	return &client.NoAnswerError{Peer: s.name, Err: exchange.Reason(ctx, err)}
}

// probe sends a command that has no effect and that nobody hears of, and ends
// the session if there is no reply. The player's commands take precedence. At
// most one probe is in progress: the next one is not due before probeAfter,
// which is longer than probeFor.
func (s *Session) probe() {
	ctx, cancel := context.WithTimeoutCause(context.Background(), probeFor, exchange.ErrTimeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return // the command in progress will tell
	}
	s.mu.Lock()
	s.stopProbe = cancel
	s.mu.Unlock()
	_, err := s.exchange(ctx, "look")
	if errors.Is(err, client.ErrNoAnswer) && context.Cause(ctx) == exchange.ErrTimeout {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(err)
	}
}

// attempt sends p for the first time, or again.
func (s *Session) attempt(p *pending, earlier int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.since++
	return s.send(p.line, earlier)
}

// send sends line to the first of the room's addresses and, as long as none has
// answered, after a few attempts to the next in turn. It is called with s.mu
// held; writing does not block.
func (s *Session) send(line []byte, earlier int) error {
	to := s.addrs[max(earlier-exchange.Patience+1, 0)%len(s.addrs)]
	_, err := s.conn.WriteToUDPAddrPort(line, to)
	return err
}

// Messages returns a channel of what the room says by itself, in order. It is
// closed when the session is over; [Session.Err] then says why. A caller that
// does not read from it for a long time loses messages, as does one whose
// network is too slow; in the tagged dialect a line like "… 12 messages were
// lost …" takes their place.
func (s *Session) Messages() <-chan string { return s.messages }

// Err returns why the session is over: [ErrDisconnected], [ErrLeft],
// [net.ErrClosed] after Close, [foyer.ErrUnknownSession] if the room considers
// the player gone, or a [*client.NoAnswerError] if the room has been silent for
// 15 seconds and then did not answer a probe for 10 more (only in the tagged
// dialect: the plain one has no request that the player would not notice); nil
// if it is not over.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Plain reports whether the session uses the plain dialect, in which the room
// keeps no inventory.
func (s *Session) Plain() bool {
	_, ok := s.peer.(*plain)
	return ok
}

// Close ends the session on this side only. To leave the room, use the command
// exit.
func (s *Session) Close() error {
	s.mu.Lock()
	s.finish(errClosed)
	s.mu.Unlock()
	err := s.conn.Close()
	s.reader.Wait()
	return err
}

// finish ends the session, with s.mu held. The first reason counts.
func (s *Session) finish(why error) {
	if s.err == nil {
		s.err = why
		close(s.over)
	}
	s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
}

// read handles what arrives until the session is closed, and calls the talker's
// idle when it is due.
func (s *Session) read() {
	open := true
	buffer := make([]byte, 1<<16)
	for {
		s.mu.Lock()
		if s.err != nil && open {
			close(s.messages) // only this goroutine sends to it
			open = false
		}
		// A room resends its last event until that is acknowledged; everything
		// else ends here.
		if s.err != nil && !errors.Is(s.err, ErrDisconnected) {
			s.mu.Unlock()
			return
		}
		s.conn.SetReadDeadline(s.peer.due())
		s.mu.Unlock()

		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		idle := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case errors.Is(err, net.ErrClosed): // by Close, which has ended the session
			if open {
				close(s.messages)
			}
			return
		case err != nil && !idle:
			time.Sleep(exchange.ReadErrorPause)
			continue
		}
		s.mu.Lock()
		switch {
		case idle:
			s.peer.idle(s, time.Now())
		case !slices.Contains(s.addrs, from):
			s.ignored(from)
		default:
			if why := s.peer.took(s, buffer[:n], from); why != nil {
				s.finish(why)
			}
		}
		s.mu.Unlock()
	}
}

func (s *Session) ignored(from netip.AddrPort) {
	s.log.Debug("a datagram was ignored", "from", from)
}

// tell passes a message to the caller and reports whether there was room for
// it.
func (s *Session) tell(text string) bool {
	if s.err != nil {
		return false
	}
	select {
	case s.messages <- text:
		return true
	default:
		return false
	}
}

// leaves returns ErrLeft if the reply to a command means that the player has
// left the room.
func leaves(command string, r Reply) error {
	verb, _ := splitCommand(command)
	_, isDirection := foyer.ParseDirection(verb)
	if r.OK && (verb == "exit" || isDirection) {
		return ErrLeft
	}
	return nil
}

// splitCommand returns the verb in lower case and what follows it.
func splitCommand(command string) (verb, rest string) {
	verb, rest, _ = strings.Cut(command, " ")
	return strings.ToLower(verb), strings.TrimSpace(rest)
}
