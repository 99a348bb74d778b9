package room

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"

	"foyer"
	"foyer/wire"
)

const (
	// maxReplies is how many replies a session remembers; a client has only a
	// few requests in flight at a time.
	maxReplies = 32

	// keepDeparted is how long the replies of a session are kept after its
	// player has left: the maximum segment lifetime of RFC 9293, section 3.4.1.
	keepDeparted = 2 * time.Minute

	// departedInAll is how many such sessions are kept, in about 60 MB at most
	// with what depart leaves of each.
	departedInAll = 16384

	// window is how many events may be in flight to a player, maxWaiting how
	// many more may wait.
	window     = 32
	maxWaiting = 224

	// Events are resent after firstResend, and then at intervals that grow to
	// lastResend. A closing room has little time and resends every
	// hurriedResend.
	firstResend   = 200 * time.Millisecond
	lastResend    = time.Second
	hurriedResend = 50 * time.Millisecond

	// quietAfter is how long a player may be silent before only the oldest
	// event is resent, so that the address of one who is gone gets less.
	// Clients acknowledge every 2 to 3 s.
	quietAfter = 10 * time.Second
)

// session is what the room knows of a tagged player besides their name and
// address. It is kept for a while after they have left.
type session struct {
	sid    string  // also the secret by which each side recognizes the other
	player *player // the last one, if they have left
	left   bool

	joined  recorded
	replies []recorded // oldest first; bounded by maxReplies
	horizon foyer.ID   // the greatest version 7 id whose reply was dropped

	lastEvent uint64
	events    []event   // in flight, oldest first; bounded by window and the farewell
	waiting   []message // oldest first; bounded by maxWaiting
	hurried   bool      // the room is closing
}

// recorded is the reply to one request.
type recorded struct {
	id    foyer.ID
	print uint64 // a hash of the request's command
	reply []byte
}

// message is one text for a player.
type message struct {
	text string // shared by all players who hear it
	lost uint64 // how many before it were left out
}

// event is a message that has been sent.
type event struct {
	message
	number   uint64
	due      time.Time // when to resend it
	interval time.Duration
}

func newSession(p *player) *session {
	var raw [16]byte
	rand.Read(raw[:]) // never fails
	return &session{player: p, sid: base64.RawURLEncoding.EncodeToString(raw[:])}
}

// find returns the reply recorded for an id, or nil.
func (s *session) find(id foyer.ID) *recorded {
	if s.joined.id == id {
		return &s.joined
	}
	for i := range s.replies {
		if s.replies[i].id == id {
			return &s.replies[i]
		}
	}
	return nil
}

func (s *session) record(r recorded) {
	if len(s.replies) == maxReplies {
		s.forget(1)
	}
	s.replies = append(s.replies, r)
}

// forget drops the n oldest replies.
func (s *session) forget(n int) {
	for _, r := range s.replies[:n] {
		if isTimed(r.id) && bytes.Compare(r.id[:], s.horizon[:]) > 0 {
			s.horizon = r.id
		}
	}
	s.replies = slices.Delete(s.replies, 0, n)
}

// isStale reports whether a request that is not recorded may be a late copy of
// one that was. Only the client's own ids are compared with each other, so its
// clock does not matter.
func (s *session) isStale(id foyer.ID) bool {
	return isTimed(id) && bytes.Compare(id[:], s.horizon[:]) <= 0
}

// fresh is a time, in Unix milliseconds, whose ids are not stale: for a client
// whose clock was set back.
func (s *session) fresh() uint64 { return binary.BigEndian.Uint64(s.horizon[:8])>>16 + 1 }

// isTimed reports whether an id is of version 7, which begins with its time.
func isTimed(id foyer.ID) bool { return id[6]>>4 == 7 }

// depart is called when the player has left. It keeps the id of the join and as
// many of the last replies as fit into one datagram: a client may still ask how
// its last few commands ended.
func (s *session) depart() {
	s.left = true
	s.events, s.waiting = nil, nil
	s.joined.reply = nil
	first, size := len(s.replies), 0
	for first > 0 && size+len(s.replies[first-1].reply) <= wire.MaxDatagram {
		first--
		size += len(s.replies[first].reply)
	}
	s.forget(first)
	s.replies = slices.Clone(s.replies) // without spare capacity
}

// push queues text for the player. If too much is waiting, the oldest message
// that has not been sent yet is left out, and the next one says so.
func (s *session) push(text string) {
	s.waiting = append(s.waiting, message{text: text})
	if len(s.waiting) > maxWaiting {
		s.waiting[1].lost += s.waiting[0].lost + 1
		s.waiting = s.waiting[1:]
	}
}

// pushLast queues the last text for the player and hurries. What has not been
// sent yet is left out: on a slow link there would be no time left for the last
// text.
func (s *session) pushLast(now time.Time, text string) {
	last := message{text: text}
	for _, m := range s.waiting {
		last.lost += m.lost + 1
	}
	s.waiting = []message{last}
	s.hurried = true
	for i := range s.events {
		s.events[i].due = now
	}
}

// caughtUp reports whether the player has acknowledged everything.
func (s *session) caughtUp() bool { return len(s.events)+len(s.waiting) == 0 }

// acknowledge drops the events up to number n, which the player has received.
// Messages that have not been sent have no number yet.
func (s *session) acknowledge(n uint64) {
	done := 0
	for done < len(s.events) && s.events[done].number <= n {
		done++
	}
	s.events = slices.Delete(s.events, 0, done)
}

// sendDue sends what is due, and returns when something will be due next, or the
// zero time.
func (s *session) sendDue(now time.Time, send func(*event)) (next time.Time) {
	under := window
	if s.hurried {
		under++ // the last text is sent along with what is in flight
	}
	quiet := now.Sub(s.player.heard) >= quietAfter
	if quiet {
		under = 1
	}
	for len(s.waiting) > 0 && len(s.events) < under {
		s.lastEvent++
		s.events = append(s.events, event{message: s.waiting[0], number: s.lastEvent})
		s.waiting = s.waiting[1:]
	}
	for i := range s.events {
		e := &s.events[i]
		if quiet && i > 0 {
			break
		}
		if !now.Before(e.due) {
			switch {
			case s.hurried:
				e.interval = hurriedResend
			case e.due.IsZero():
				e.interval = firstResend
			default:
				e.interval = min(e.interval*3/2, lastResend)
			}
			e.due = now.Add(e.interval)
			send(e)
		}
		if next.IsZero() || e.due.Before(next) {
			next = e.due
		}
	}
	return next
}
