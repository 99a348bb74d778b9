package player

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"foyer"
	"foyer/client"
	"foyer/wire"
)

const (
	// lateFor is how long after a command its reply, or copies of it, may still
	// arrive.
	lateFor = 2 * client.Timeout

	// maxRecent is how many commands are remembered for that.
	maxRecent = 16

	// refusalGrace is how long to wait for a summary before another text counts
	// as the refusal of a join.
	refusalGrace = time.Second
)

// plain is a talker. In the plain dialect only the text of a datagram tells
// whether it is a reply or a message, and to which command it replies. So a
// datagram is, in this order:
//
//   - the reply to the current command, if it has exactly the form that
//     docs/protocol.md gives that reply;
//   - a message, if it has the form of one: who came, went or said what;
//   - ignored, if it has the form of a reply to a command of the last ten
//     seconds: it is late, or a copy;
//   - the reply to the current command, if it can be: the name of a room, an
//     item in another spelling, anything at all if the dialect does not have the
//     command;
//   - otherwise a message.
//
// That leaves a gap: a late reply is taken for the reply to the same command
// given again, and an unknown text during a direction for the name of a room.
// The tagged dialect has neither problem.
type plain struct {
	recent []recent // oldest first; at most maxRecent

	refusal string    // of the join in progress, perhaps
	decide  time.Time // when it counts as one; zero if there is none
}

type recent struct {
	command string
	until   time.Time
}

// repeatable are the commands that may be carried out twice. A second take
// would be refused, a second drop would duplicate the item, a second say would
// be heard twice, and after a second direction nobody would know where the
// player is.
var repeatable = []string{"join", "look", "exit"}

func (t *plain) request(_ *Session, command string) (*pending, bool) {
	now := time.Now()
	t.recent = slices.DeleteFunc(t.recent, func(r recent) bool { return now.After(r.until) })
	if len(t.recent) == maxRecent {
		t.recent = slices.Delete(t.recent, 0, 1)
	}
	t.recent = append(t.recent, recent{command, now.Add(lateFor)})
	verb, _ := splitCommand(command)
	return newPending(command), slices.Contains(repeatable, verb)
}

func (t *plain) took(s *Session, datagram []byte, from netip.AddrPort) error {
	text := strings.TrimRight(string(datagram), "\r\n")
	p := s.pending
	var exact, loose bool
	if p != nil {
		exact, loose = fits(p.command, text)
	}
	switch {
	case text == "":
	case text == wire.Disconnect:
		return ErrDisconnected
	case exact:
		return t.reply(s, text, from)
	case isMessage(text):
		t.tell(s, text)
	case t.isLate(s, text):
		s.ignored(from)
	case p != nil && isJoin(p.command):
		if t.decide.IsZero() {
			t.refusal, t.decide = text, time.Now().Add(refusalGrace)
		}
	case loose:
		return t.reply(s, text, from)
	default:
		t.tell(s, text)
	}
	return nil
}

func (t *plain) reply(s *Session, text string, from netip.AddrPort) error {
	s.addrs = []netip.AddrPort{from}
	t.refusal, t.decide = "", time.Time{}
	got := Reply{OK: !isRefusal(s.pending.command, text), Text: text}
	s.pending.answer(reply{Reply: got})
	return leaves(s.pending.command, got)
}

func (t *plain) tell(s *Session, text string) {
	if !s.tell(text) {
		s.log.Debug("a message was lost: nobody reads them")
	}
}

// isLate reports whether text has exactly the form of a reply to a command
// before the current one.
func (t *plain) isLate(s *Session, text string) bool {
	now := time.Now()
	earlier := t.recent
	if s.pending != nil {
		earlier = earlier[:len(earlier)-1]
	}
	return slices.ContainsFunc(earlier, func(r recent) bool {
		exact, _ := fits(r.command, text)
		return exact && !now.After(r.until)
	})
}

// due and idle end the wait for a summary.
func (t *plain) due() time.Time { return t.decide }

func (t *plain) idle(s *Session, now time.Time) {
	if t.decide.IsZero() || now.Before(t.decide) {
		return
	}
	if s.pending != nil && isJoin(s.pending.command) {
		s.pending.answer(reply{Reply: Reply{Text: t.refusal}})
	}
	t.refusal, t.decide = "", time.Time{}
}

func isJoin(command string) bool {
	verb, _ := splitCommand(command)
	return verb == "join"
}

// fits reports whether text has exactly the form of the reply to a command, and
// whether it could be one.
func fits(command, text string) (exact, loose bool) {
	verb, rest := splitCommand(command)
	line := !strings.Contains(text, "\n")
	loose = line && isComplaint(text)
	switch {
	case verb == "join":
		return isSummary(text) || strings.HasPrefix(text, wire.AlreadyHere), loose
	case verb == "look":
		return isSummary(text), loose
	case verb == "take":
		rest = strings.Join(strings.Fields(rest), " ")
		exact = strings.EqualFold(text, rest+wire.Taken) || strings.EqualFold(text, rest+wire.CannotTake)
		return exact, loose || line && (strings.HasSuffix(text, wire.Taken) || strings.HasSuffix(text, wire.CannotTake))
	case verb == "drop":
		rest = strings.Join(strings.Fields(rest), " ")
		exact = strings.EqualFold(text, rest+wire.Dropped) || strings.EqualFold(text, wire.NoSpaceHere+rest)
		return exact, loose || line && (strings.HasSuffix(text, wire.Dropped) || strings.HasPrefix(text, wire.NoSpaceHere))
	case verb == "say" && rest == "":
		return text == wire.SayWhat, loose
	case verb == "say":
		return text == wire.YouSaid+rest+wire.EndOfSaying || text == wire.TooLong || text == wire.TooFast, loose || strings.HasPrefix(text, wire.YouSaid)
	case verb == "exit":
		return text == wire.Goodbye, loose
	}
	if d, ok := foyer.ParseDirection(verb); ok {
		_, err := foyer.ParseName(text)
		return text == wire.CannotGo(d), loose || line && err == nil
	}
	return text == wire.InvalidCommand, true
}

// isComplaint reports whether text may be the reply to any command.
func isComplaint(text string) bool {
	return text == wire.InvalidCommand || text == wire.NotHere || strings.HasPrefix(text, "NOTOK ")
}

// isRefusal reports whether the reply to a command says that it was not carried
// out.
func isRefusal(command, text string) bool {
	if isComplaint(text) || text == wire.SayWhat {
		return true
	}
	verb, _ := splitCommand(command)
	switch verb {
	case "take":
		return strings.HasSuffix(text, wire.CannotTake)
	case "drop":
		return strings.HasPrefix(text, wire.NoSpaceHere)
	case "say":
		return text == wire.TooLong || text == wire.TooFast
	case "join":
		return strings.HasPrefix(text, wire.AlreadyHere)
	}
	d, ok := foyer.ParseDirection(verb)
	return ok && strings.EqualFold(text, wire.CannotGo(d))
}

// isSummary reports whether text is a name, a description and the contents of a
// room, separated by empty lines.
func isSummary(text string) bool {
	i := strings.LastIndex(text, "\n\n")
	if i < 0 || !strings.Contains(text[:i], "\n\n") {
		return false
	}
	there := text[i+2:]
	return there == wire.EmptyRoom || strings.HasPrefix(there, wire.InThisRoom)
}

// isMessage reports whether text is what players are told about each other.
func isMessage(text string) bool {
	switch {
	case strings.HasSuffix(text, wire.Entered), strings.HasSuffix(text, wire.LeftGame):
		return true
	case strings.HasSuffix(text, wire.EndOfSaying) && strings.Contains(text, wire.Said):
		return !strings.HasPrefix(text, wire.YouSaid)
	}
	_, heading, _ := strings.Cut(text, wire.LeftHeading)
	_, ok := foyer.ParseDirection(strings.TrimSuffix(heading, "."))
	return ok
}
