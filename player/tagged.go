package player

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/exchange"
	"foyer/wire"

	"github.com/google/uuid"
)

const (
	// eventWindow is how many events that arrive too early are kept. The room
	// resends those further ahead.
	eventWindow = 64

	// ackDelay is how long an acknowledgement waits for more events, or for a
	// request to be sent with.
	ackDelay = 20 * time.Millisecond

	// keepAlive is how often the room hears from an idle player, give or take a
	// fifth. It considers a player gone after 30 seconds, and these datagrams
	// are not acknowledged, so there have to be many: with a fifth lost, ten in
	// a row are lost once in ten million.
	keepAlive = 2500 * time.Millisecond

	// probeAfter is how long a room may be silent before it is sent a probe, to
	// learn whether it is still there: acknowledgements have no reply.
	probeAfter = 15 * time.Second

	// probeFor is how long a probe may take. It is longer than for a command:
	// nobody waits for it, and a player who stays for hours on a network that
	// loses a fifth each way must not be dropped because of one request in ten
	// thousand. The end of a room is noticed within 25 seconds.
	probeFor = 2 * client.Timeout

	// maxSid is the longest session id or cookie accepted from a room, in
	// bytes.
	maxSid = 100
)

// tagged is a talker: requests have an id, so that the room carries them out
// once and replies can be matched; events are numbered from 1 without gaps, and
// acknowledged by the number up to which all have arrived.
//
// Source addresses can be forged. So replies are accepted by the request's id,
// which nobody can guess, and events by the sid, which the room tells this
// player only. Datagrams with neither have no effect: they are not told,
// acknowledged or kept.
type tagged struct {
	tags   bool             // the room has sent some, so it is not a plain one
	joined bool             // the room has let the player in
	sid    []byte           // the session id; nil before the room has let the player in
	clock  time.Time        // of the last id: ids must increase
	told   uint64           // number of the last event told, which ack repeats
	early  map[uint64]event // later events; at most eventWindow
	ackAt  time.Time        // when to acknowledge; zero if nothing is new
	quiet  time.Time        // when to send something so that the room does not forget us
	heard  time.Time        // when the room last spoke, or was last probed
	parted bool             // nothing more to say
}

// An event is something that the room says by itself.
type event struct {
	text string
	lost uint64 // how many the room left out before it
}

func (t *tagged) request(s *Session, command string) (*pending, bool) {
	p := newPending(command)
	t.renew(s, p)
	return p, true
}

// renew gives a request a new id.
func (t *tagged) renew(s *Session, p *pending) {
	t.clock = later(time.Now(), t.clock.Add(time.Millisecond))
	p.id = s.chance.ID(t.clock)
	t.write(s, p)
}

// write composes the line of a request.
func (t *tagged) write(s *Session, p *pending) {
	tags := wire.Tags{ID: []byte(uuid.UUID(p.id).String()), Sid: t.sid, Ack: t.told, HasAck: t.sid != nil, Cookie: p.cookie}
	p.line = append(wire.AppendTags(nil, &tags), p.command...)
	t.said(s)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// said records that something with an ack is being sent. Retries do not count:
// theirs may be outdated.
func (t *tagged) said(s *Session) {
	t.ackAt = time.Time{}
	t.quiet = time.Now().Add(s.chance.Jitter(keepAlive, 0.2))
}

func (t *tagged) took(s *Session, datagram []byte, from netip.AddrPort) error {
	tags, text, err := wire.ParseTags(datagram)
	switch {
	case err != nil:
		s.ignored(from)
	case !tags.Any:
		// What others do in a room where somebody was who had this port
		// before is no answer either.
		if t.tags || s.pending == nil || isMessage(string(text)) {
			s.ignored(from)
			return nil
		}
		s.pending.answer(reply{err: errOnlyPlain})
	case tags.HasEv && len(t.sid) > 0 && bytes.Equal(tags.Sid, t.sid):
		t.heard = time.Now()
		return t.event(s, tags.Ev, event{string(text), tags.Lost})
	case tags.HasEv: // forged, or the reply to join has not come yet: the room says it again
		t.tags = true
		s.ignored(from)
	case tags.ID != nil && s.pending != nil && tags.UUID == s.pending.id:
		t.tags, t.heard = true, time.Now()
		return t.reply(s, datagram, from)
	default: // a second copy of an earlier reply
		s.ignored(from)
	}
	return nil
}

func (t *tagged) reply(s *Session, datagram []byte, from netip.AddrPort) error {
	r, err := wire.ParseReply(datagram)
	if err != nil || max(len(r.Sid), len(r.Cookie)) > maxSid {
		s.ignored(from)
		return nil
	}
	if !t.joined && r.OK {
		t.joined, t.sid = true, slices.Clone(r.Sid)
	}
	s.addrs = []netip.AddrPort{from}
	got := Reply{OK: r.OK, Text: string(r.Text), Code: foyer.Code(r.Code)}
	switch {
	case got.OK:
	case got.Code == foyer.UnknownSession:
		why := &foyer.Error{Code: got.Code, Text: got.Text}
		s.pending.answer(reply{err: why})
		return why
	case got.Code == foyer.BadCookie && len(r.Cookie) > 0:
		// One that is known already is the answer to an earlier attempt.
		if !bytes.Equal(r.Cookie, s.pending.cookie) && s.pending.cookies < exchange.MaxCorrections {
			s.pending.cookies++
			s.pending.cookie = slices.Clone(r.Cookie)
			t.write(s, s.pending)
			s.send(s.pending.line, 0)
		}
		return nil
	case got.Code == foyer.StaleRequest && exchange.IsTime(r.Now) && s.pending.renewals < exchange.MaxCorrections:
		s.pending.renewals++
		t.clock = later(t.clock, time.UnixMilli(int64(r.Now)))
		t.renew(s, s.pending)
		s.send(s.pending.line, 0)
		return nil
	case got.Code.Temporary():
		s.pending.refused, s.pending.since = &got, 0 // and sent again when due
		return nil
	}
	s.pending.answer(reply{Reply: got})
	return leaves(s.pending.command, got)
}

// event handles an event: it is told when all before it have been, and
// acknowledged when it has been told.
func (t *tagged) event(s *Session, number uint64, e event) error {
	if t.ackAt.IsZero() {
		t.ackAt = time.Now().Add(ackDelay) // also for one that came before: its acknowledgement was lost
	}
	if number <= t.told || number > t.told+eventWindow {
		return nil
	}
	if t.early == nil {
		t.early = map[uint64]event{}
	}
	if _, known := t.early[number]; !known {
		t.early[number] = e
	}
	for {
		e, ok := t.early[t.told+1]
		if !ok {
			return nil
		}
		if e.lost > 0 {
			if !s.tell(missing(e.lost)) {
				return nil
			}
			e.lost = 0 // told already, even if there is no room for the text yet
			t.early[t.told+1] = e
		}
		if e.text == wire.Disconnect {
			t.told++
			t.parted = true
			t.acknowledge(s)
			return ErrDisconnected
		}
		if !s.tell(e.text) {
			return nil
		}
		t.told++
		delete(t.early, t.told)
	}
}

// missing is what the player is told about messages that the room left out.
func missing(n uint64) string {
	if n == 1 {
		return "… 1 message was lost …"
	}
	return fmt.Sprintf("… %d messages were lost …", n)
}

func (t *tagged) due() time.Time {
	switch ack, probe := t.ackDue(), t.probeDue(); {
	case probe.IsZero(), !ack.IsZero() && ack.Before(probe):
		return ack
	default:
		return probe
	}
}

func (t *tagged) ackDue() time.Time {
	switch {
	case t.sid == nil:
		return time.Time{}
	case t.parted || !t.ackAt.IsZero() && t.ackAt.Before(t.quiet):
		return t.ackAt
	}
	return t.quiet
}

func (t *tagged) probeDue() time.Time {
	if !t.joined || t.parted {
		return time.Time{}
	}
	return t.heard.Add(probeAfter)
}

func (t *tagged) idle(s *Session, now time.Time) {
	if due := t.ackDue(); !due.IsZero() && !now.Before(due) {
		t.acknowledge(s)
	}
	if due := t.probeDue(); !due.IsZero() && !now.Before(due) {
		t.heard = now
		s.reader.Go(s.probe)
	}
}

// acknowledge sends an acknowledgement on its own, which has no reply.
func (t *tagged) acknowledge(s *Session) {
	if t.sid == nil {
		return
	}
	tags := wire.Tags{Sid: t.sid, Ack: t.told, HasAck: true}
	t.said(s)
	if _, err := s.conn.WriteToUDPAddrPort(wire.AppendTags(nil, &tags), s.addrs[0]); err != nil {
		s.log.Debug("an acknowledgement was not sent", "error", err) // the next one says the same
	}
}
