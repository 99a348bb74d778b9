package roomserver

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"

	"foyer/room"
)

const (
	// maxReplies is how many replies a session remembers; a client has only few
	// requests under way at a time.
	maxReplies = 32

	// keepDeparted is how long the replies of a session are kept after its
	// player has left: the longest that a datagram may be under way (RFC 9293,
	// section 3.4.1). maxDeparted bounds how many are kept.
	keepDeparted = 2 * time.Minute
	maxDeparted  = 256

	// window is how many events may be under way to a player, maxUnacked how
	// many may wait for acknowledgement in all.
	window     = 32
	maxUnacked = 256

	// What the room says is sent again after firstResend, and then at intervals
	// that grow to lastResend.
	// When the room closes there is little time: it sends every hurriedResend.
	firstResend   = 200 * time.Millisecond
	lastResend    = time.Second
	hurriedResend = 50 * time.Millisecond

	// Others are held up while a player is slowQueue events behind and the
	// oldest of these was said within slowAge: one who acknowledges nothing
	// is not waited for.
	slowQueue = maxUnacked / 2
	slowAge   = 2 * time.Second
)

// session is what the room knows of a tagged player beside their name and
// address, and keeps for a while after they have left.
type session struct {
	sid    string
	player *player   // nil once the player has left
	left   time.Time // when that was

	joined  recorded
	replies []recorded // oldest first; bounded by maxReplies
	horizon room.ID    // the greatest version 7 id whose reply is kept no more

	lastEvent uint64
	events    []event // not acknowledged, oldest first; bounded by maxUnacked and a last one
	hurried   bool    // the room closes
}

// recorded is the reply to one request.
type recorded struct {
	id    room.ID
	print uint64 // a hash of the request's command
	reply []byte
}

// event is one thing that the room says to a player.
type event struct {
	number   uint64
	text     string // one for all the players who hear it
	said     time.Time
	due      time.Time // when it is sent again; zero if it has not been sent
	interval time.Duration
}

func newSession() *session {
	var raw [16]byte
	rand.Read(raw[:]) // never fails
	return &session{sid: base64.RawURLEncoding.EncodeToString(raw[:])}
}

// find returns the reply recorded under an id, or nil.
func (s *session) find(id room.ID) *recorded {
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
		if id := s.replies[0].id; isTimed(id) && bytes.Compare(id[:], s.horizon[:]) > 0 {
			s.horizon = id
		}
		s.replies = slices.Delete(s.replies, 0, 1)
	}
	s.replies = append(s.replies, r)
}

// isStale reports whether a request that is not recorded may be a late copy of
// one that was. Only the client's own ids are compared with each other, so its
// clock does not matter.
func (s *session) isStale(id room.ID) bool {
	return isTimed(id) && bytes.Compare(id[:], s.horizon[:]) <= 0
}

// fresh is a time, in Unix milliseconds, of which ids are not stale: for a
// client whose clock was set back.
func (s *session) fresh() uint64 { return binary.BigEndian.Uint64(s.horizon[:8])>>16 + 1 }

// isTimed reports whether an id is of version 7, which begins with its time.
func isTimed(id room.ID) bool { return id[6]>>4 == 7 }

// depart is called when the player has left.
func (s *session) depart(now time.Time) {
	s.player, s.left = nil, now
	s.events = nil
}

// push has text said to the player, and reports false if too much is waiting.
func (s *session) push(now time.Time, text string) bool {
	if len(s.events) >= maxUnacked {
		return false
	}
	s.append(now, text)
	return true
}

// pushLast has the last text said to the player, however much is waiting, and
// all in a hurry.
func (s *session) pushLast(now time.Time, text string) {
	s.append(now, text)
	s.hurried = true
	for i := range s.events {
		if e := &s.events[i]; !e.due.IsZero() {
			e.due = now
		}
	}
}

func (s *session) append(now time.Time, text string) {
	s.lastEvent++
	s.events = append(s.events, event{number: s.lastEvent, text: text, said: now})
}

// acknowledge takes what the player has received, all numbers up to n, off the
// queue. Numbers that have not been sent do not count.
func (s *session) acknowledge(n uint64) {
	done := 0
	for _, e := range s.events {
		if e.number > n || e.due.IsZero() {
			break
		}
		done++
	}
	s.events = slices.Delete(s.events, 0, done)
}

// sendDue sends what is due of the window, and returns when something will be
// due next, or the zero time.
func (s *session) sendDue(now time.Time, send func(*event)) (next time.Time) {
	under := s.events[:min(len(s.events), window)]
	for i := range under {
		e := &under[i]
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

// isCatchingUp reports whether the player is far behind, but not so far that
// there is no hope.
func (s *session) isCatchingUp(now time.Time) bool {
	return len(s.events) >= slowQueue && now.Sub(s.events[0].said) < slowAge
}
