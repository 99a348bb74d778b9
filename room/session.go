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
	// maxReplies is how many replies a session remembers; a client has only few
	// requests under way at a time.
	maxReplies = 32

	// keepDeparted is how long the replies of a session are kept after its
	// player has left: the longest that a datagram may be under way (RFC 9293,
	// section 3.4.1).
	keepDeparted = 2 * time.Minute

	// departedInAll is how many such sessions are kept: with what depart leaves of
	// them they are at most some 60 MB.
	departedInAll = 16384

	// window is how many events may be under way to a player, maxWaiting how
	// many more may wait for their turn.
	window     = 32
	maxWaiting = 224

	// What the room says is sent again after firstResend, and then at intervals
	// that grow to lastResend.
	// When the room closes there is little time: it sends every hurriedResend.
	firstResend   = 200 * time.Millisecond
	lastResend    = time.Second
	hurriedResend = 50 * time.Millisecond

	// quietAfter is after how long without a word only the oldest event is sent
	// again until the player is heard: whoever is gone has less sent to where they
	// were. Clients acknowledge every 2 to 3 s.
	quietAfter = 10 * time.Second
)

// session is what the room knows of a tagged player beside their name and
// address, and keeps for a while after they have left.
type session struct {
	sid    string  // also the secret by which either side knows the other
	player *player // the last one known, when they have left
	left   bool

	joined  recorded
	replies []recorded // oldest first; bounded by maxReplies
	horizon foyer.ID   // the greatest version 7 id whose reply is kept no more

	lastEvent uint64
	events    []event   // under way, oldest first; bounded by window and the end
	waiting   []message // oldest first; bounded by maxWaiting
	hurried   bool      // the room closes
}

// recorded is the reply to one request.
type recorded struct {
	id    foyer.ID
	print uint64 // a hash of the request's command
	reply []byte
}

// message is one thing that the room says to a player.
type message struct {
	text string // one for all the players who hear it
	lost uint64 // how many before it are left out
}

// event is a message that has been sent.
type event struct {
	message
	number   uint64
	due      time.Time // when it is sent again
	interval time.Duration
}

func newSession(p *player) *session {
	var raw [16]byte
	rand.Read(raw[:]) // never fails
	return &session{player: p, sid: base64.RawURLEncoding.EncodeToString(raw[:])}
}

// find returns the reply recorded under an id, or nil.
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

// fresh is a time, in Unix milliseconds, of which ids are not stale: for a
// client whose clock was set back.
func (s *session) fresh() uint64 { return binary.BigEndian.Uint64(s.horizon[:8])>>16 + 1 }

// isTimed reports whether an id is of version 7, which begins with its time.
func isTimed(id foyer.ID) bool { return id[6]>>4 == 7 }

// depart is called when the player has left. Kept are the id of the join and the
// last replies, as much as goes into one datagram: what a client may still ask
// for is how its last few commands ended.
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
	s.replies = slices.Clone(s.replies) // without the room for more
}

// push has text said to the player. If too much is waiting, the oldest message
// that has not been sent yet is left out, and the one behind it says so.
func (s *session) push(text string) {
	s.waiting = append(s.waiting, message{text: text})
	if len(s.waiting) > maxWaiting {
		s.waiting[1].lost += s.waiting[0].lost + 1
		s.waiting = s.waiting[1:]
	}
}

// pushLast has the last text said to the player, and all in a hurry. What has not
// been sent yet is left out: on a slow line it would not leave time for the end.
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

// acknowledge takes what the player has received, all numbers up to n, off the
// books. Messages that have not been sent have no number yet.
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
		under++ // the end is sent with what is under way
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
