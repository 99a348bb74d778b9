package room

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/wire"
	"foyer/world"
)

// hall is a server whose datagrams and clock a test controls by hand.
type hall struct {
	*Server
	udp.PacketConn // nil: only written to
	t              testing.TB
	now            time.Time
	sent           []sent
	ids            int
}

type sent struct {
	to   netip.AddrPort
	text string
}

func newHall(t testing.TB, o Options, things ...string) *hall {
	t.Helper()
	r, err := world.New("Hall", "A hall.", map[foyer.Direction]foyer.Name{foyer.North: "Kitchen"}, things)
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.Server = New(h, r, o)
	return h
}

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (h *hall) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	h.sent = append(h.sent, sent{to, string(b)})
	return len(b), nil
}

// put passes a datagram to the server and returns what it sent back to from;
// the rest stays in h.sent.
func (h *hall) put(from, text string) (replies []string) {
	addr := netip.MustParseAddrPort(from)
	earlier := len(h.sent)
	h.handle(h.now, datagram{[]byte(text), addr})
	var others []sent
	for _, s := range h.sent[earlier:] {
		if s.to == addr {
			replies = append(replies, s.text)
		} else {
			others = append(others, s)
		}
	}
	h.sent = append(h.sent[:earlier], others...)
	return replies
}

// want is put, and checks the replies.
func (h *hall) want(from, text string, replies ...string) {
	h.t.Helper()
	if got := h.put(from, text); !slices.Equal(got, replies) {
		h.t.Errorf("%s sends %q\n got %q\nwant %q", from, text, got, replies)
	}
}

// heard takes out what was sent to an address without being asked.
func (h *hall) heard(at string) (texts []string) {
	addr := netip.MustParseAddrPort(at)
	h.sent = slices.DeleteFunc(h.sent, func(s sent) bool {
		if s.to == addr {
			texts = append(texts, s.text)
		}
		return s.to == addr
	})
	return texts
}

func (h *hall) wantHeard(at string, texts ...string) {
	h.t.Helper()
	if got := h.heard(at); !slices.Equal(got, texts) {
		h.t.Errorf("%s hears\n got %q\nwant %q", at, got, texts)
	}
}

// pass lets time pass, and runs what the server's timer would.
func (h *hall) pass(d time.Duration) {
	end := h.now.Add(d)
	for !h.due.IsZero() && !h.due.After(end) {
		h.now = h.due
		h.tick(h.now)
	}
	h.now = end
}

// id returns a version 7 id that is newer than those before.
func (h *hall) id() string {
	h.ids++
	return fmt.Sprintf("01949eef-e000-7%03x-8000-%012x", h.ids>>48, h.ids)
}

// cookie returns the tag with the valid cookie of an address.
func (h *hall) cookie(at string) string {
	return ";cookie=" + h.cookies.of(h.now, netip.MustParseAddrPort(at).Addr())
}

// ev returns the tags of an event.
func (h *hall) ev(sid string, number int) string { return fmt.Sprintf("@sid=%s;ev=%d ", sid, number) }

// join lets a tagged player in and returns the sid.
func (h *hall) join(from, name string) (sid string) {
	h.t.Helper()
	got := h.put(from, "@id="+h.id()+h.cookie(from)+" join "+name)
	if len(got) == 0 {
		h.t.Fatalf("no reply to join %s", name)
	}
	tags, rest, err := wire.ParseTags([]byte(got[0]))
	if err != nil || tags.Sid == nil || !strings.HasPrefix(string(rest), "OK Hall\n\nA hall.\n\n") {
		h.t.Fatalf("join %s: %q", name, got)
	}
	return string(tags.Sid)
}

const (
	ann   = "192.0.2.1:1001"
	bob   = "192.0.2.2:1002"
	carol = "192.0.2.3:1003"
)

func TestPlainDialect(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	h.want(ann, "look", wire.NotHere)
	h.want(ann, "dance", "Invalid command")
	h.want(ann, "")
	h.want(ann, " \n")
	h.want(ann, "join Ann", "Hall\n\nA hall.\n\nIn this room, there is:\n  lamp")
	h.want(bob, "JOIN Bob\n", "Hall\n\nA hall.\n\nIn this room, there are:\n  lamp\n  Ann")
	h.wantHeard(ann, "Bob entered the room.")
	h.want(carol, "join Bob", "Bob is already here")
	h.want(carol, "join ", "Invalid command")

	// A retried join is not a second one.
	h.want(bob, "join Bob", "Hall\n\nA hall.\n\nIn this room, there are:\n  lamp\n  Ann")
	h.want(bob, "join Rob", "You are already here as Bob")
	h.wantHeard(ann)

	h.want(ann, "take lamp", "lamp taken")
	h.want(bob, "take lamp", "lamp cannot be taken in this room")
	h.want(ann, "say hello there", `You said "hello there".`)
	h.wantHeard(bob, `Ann said "hello there".`)
	h.want(ann, "south", "You cannot go south from this room.")
	h.want(ann, strings.Repeat("x", wire.MaxDatagram+1), "Invalid command")
	h.want(ann, "north", "Kitchen")
	h.want(ann, "north", "Kitchen") // a retry
	h.want(ann, "look", wire.NotHere)
	h.wantHeard(bob, "Ann left the room, heading north.")
	h.want(bob, "exit", "Goodbye")
	h.want(bob, "exit", "Goodbye")
	h.pass(keepGoodbye)
	h.want(bob, "exit", wire.NotHere)
	if n := len(h.room.Players()) + len(h.players) + len(h.plain); n != 0 {
		t.Errorf("%d players are left", n)
	}
}

func TestPlainOnly(t *testing.T) {
	h := newHall(t, Options{PlainOnly: true})
	h.want(ann, "@id="+h.id()+" join Ann", "Invalid command")
	h.want(ann, "join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	h.want(ann, "@id="+h.id()+" look", "Invalid command")
}

func TestTaggedDialect(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	u := [...]string{h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id(), h.id()}
	sid := h.join(ann, "Ann")
	req := func(i int) string { return "@id=" + u[i] + ";sid=" + sid + " " }
	re := func(i int) string { return "@id=" + u[i] + " " }
	bobSid := ""
	h.want(ann, req(0)+"look", re(0)+"OK Hall\n\nA hall.\n\nIn this room, there is:\n  lamp")
	h.want(ann, req(1)+"take lamp", re(1)+"OK lamp taken")
	h.want(ann, req(2)+"take lamp", re(2)+"NOTOK lamp cannot be taken in this room")
	h.want(ann, req(3)+"say", re(3)+"NOTOK What did you want to say?")
	h.want(ann, req(4)+"south", re(4)+"NOTOK You cannot go south from this room.")
	h.want(ann, req(5)+"dance", re(5)+"NOTOK Invalid command")
	h.want(ann, req(6)+"", re(6)+"NOTOK Invalid command")
	h.want(ann, req(7)+"join Rob", re(7)+"NOTOK You are already here as Ann")
	h.want(ann, req(8)+"join Ann", re(8)+"OK Hall\n\nA hall.\n\nThe room is empty.")

	t.Run("retries", func(t *testing.T) {
		h.t = t
		h.want(ann, req(1)+"take lamp", re(1)+"OK lamp taken")
		h.want(ann, req(2)+"take lamp", re(2)+"NOTOK lamp cannot be taken in this room")
		h.want(ann, "@id="+u[0]+";sid="+sid+";ack=0 look", re(0)+"OK Hall\n\nA hall.\n\nIn this room, there is:\n  lamp")
		h.want(ann, req(1)+"drop lamp", "@id="+u[1]+";code=id-reused NOTOK the id belongs to another request")
	})
	t.Run("from another address", func(t *testing.T) {
		h.t = t
		asked := "@id=" + u[1] + ";code=bad-cookie" + h.cookie(carol) + " NOTOK ask again with this cookie"
		h.want(carol, req(1)+"take lamp", asked)
		h.want(carol, "@id="+u[1]+";sid="+sid+h.cookie(ann)+" take lamp", asked)
		h.want(carol, "@id="+u[1]+";sid="+sid+h.cookie(carol)+" take lamp", re(1)+"OK lamp taken")
		other := h.join(bob, "Bob")
		h.wantHeard(carol, h.ev(sid, 1)+"Bob entered the room.")
		h.want(carol, req(1)+"take lamp", re(1)+"OK lamp taken") // one cookie is enough
		h.want(ann, req(9)+"drop lamp", "@id="+u[9]+";code=bad-cookie"+h.cookie(ann)+" NOTOK ask again with this cookie")
		h.want(ann, "@id="+u[9]+";sid="+sid+h.cookie(ann)+" drop lamp", re(9)+"OK lamp dropped")
		h.want(bob, "@id="+h.id()+";sid="+other+" say hi", "@id="+fmt.Sprintf("01949eef-e000-7000-8000-%012x", h.ids)+` OK You said "hi".`)
		h.wantHeard(ann, h.ev(sid, 2)+`Bob said "hi".`)
		bobSid = other
	})
	t.Run("refusals", func(t *testing.T) {
		h.t = t
		v := h.id()
		h.want(carol, "@id="+v+";sid=nobody look", "@id="+v+";code=unknown-session NOTOK you are not in this room")
		h.want(carol, "@id="+v+" look", "@id="+v+";code=unknown-session NOTOK you are not in this room")
		h.want(carol, "@id="+v+h.cookie(carol)+" join Ann", "@id="+v+";code=name-taken NOTOK Ann is already here")
		h.want(carol, "@id="+h.id()+h.cookie(carol)+" join "+strings.Repeat("x", 256),
			"@id="+fmt.Sprintf("01949eef-e000-7000-8000-%012x", h.ids)+";code=bad-name NOTOK You cannot join: the name is longer than 255 bytes")
		h.want(carol, "@id=x join Carol", "@code=malformed NOTOK the id is not a UUID")
		h.want(carol, "@x=1 join Carol", "@code=malformed NOTOK a request with tags needs an id")
		h.want(carol, "@", "@code=malformed NOTOK the tags do not end with a space")
		h.want(carol, "@id="+v+" look"+strings.Repeat(" ", wire.MaxDatagram), "@id="+v+";code=too-large NOTOK the datagram has more than 1232 bytes")
	})
	t.Run("after leaving", func(t *testing.T) {
		h.t = t
		h.want(ann, req(10)+"north", re(10)+"OK Kitchen")
		h.wantHeard(bob, h.ev(bobSid, 1)+"Ann left the room, heading north.")
		h.want(ann, req(10)+"north", re(10)+"OK Kitchen")
		h.want(ann, req(11)+"look", "@id="+u[11]+";code=unknown-session NOTOK you are not in this room")
		h.want(ann, "@sid="+sid+";ack=7 ")
		h.heard(bob)
		h.pass(keepDeparted - time.Second)
		h.want(ann, req(10)+"north", re(10)+"OK Kitchen")
		h.pass(time.Second)
		h.want(ann, req(10)+"north", "@id="+u[10]+";code=unknown-session NOTOK you are not in this room")
		if len(h.departed.entries) != 1 || len(h.sessions) != 1 || len(h.joins) != 1 { // Bob's, who was silent
			t.Errorf("kept: %d departed, %d sessions, %d joins", len(h.departed.entries), len(h.sessions), len(h.joins))
		}
	})
}

func TestRetriedJoin(t *testing.T) {
	h := newHall(t, Options{})
	u, v := h.id(), h.id()
	first := h.put(ann, "@id="+u+h.cookie(ann)+" join Ann")
	h.want(bob, "join Bob", "Hall\n\nA hall.\n\nIn this room, there is:\n  Ann")
	h.want(ann, "@id="+u+h.cookie(ann)+" join Ann", first...)
	h.wantHeard(bob)
	h.want(ann, "@id="+u+h.cookie(ann)+" join Ada", "@id="+u+";code=id-reused NOTOK the id belongs to another request")

	// A refused join stays refused, even if the name has become free.
	refusal := "@id=" + v + ";code=name-taken NOTOK Bob is already here"
	h.want(carol, "@id="+v+h.cookie(carol)+" join Bob", refusal)
	h.want(bob, "exit", "Goodbye")
	h.want(carol, "@id="+v+h.cookie(carol)+" join Bob", refusal)
	h.pass(keepRefused)
	if got := h.put(carol, "@id="+v+h.cookie(carol)+" join Bob"); len(got) != 1 || !strings.Contains(got[0], " OK Hall") {
		t.Errorf("after the refusal is forgotten: %q", got)
	}
}

// TestRecordIsBounded: when its reply has been dropped, an id is refused rather
// than carried out a second time.
func TestRecordIsBounded(t *testing.T) {
	h := newHall(t, Options{}, slices.Repeat([]string{"coin"}, 5)...)
	sid := h.join(ann, "Ann")
	u := h.id()
	take := "@id=" + u + ";sid=" + sid + " take coin"
	h.want(ann, take, "@id="+u+" OK coin taken")
	for range maxReplies - 1 {
		h.put(ann, "@id="+h.id()+";sid="+sid+" look")
	}
	h.want(ann, take, "@id="+u+" OK coin taken")
	h.put(ann, "@id="+h.id()+";sid="+sid+" look")
	h.want(ann, take, "@id="+u+";code=stale-request;now=1737833308161 NOTOK the id is older than what this room remembers")
	if n := len(h.sessions[sid].replies); n != maxReplies {
		t.Errorf("%d replies are kept", n)
	}
	// Nor does a late copy of a join bring back a player who has left.
	h.put(ann, "@id="+h.id()+";sid="+sid+" exit")
	h.want(ann, "@id="+u+";sid="+sid+" join Ann", "@id="+u+";code=stale-request;now=1737833308161 NOTOK the id is older than what this room remembers")
	sid = h.join(ann, "Ann")
	// Ids without a time are accepted, however many there were.
	h.put(ann, "@id=00000000-0000-4000-8000-000000000001;sid="+sid+" take coin")
	h.want(ann, "@id=00000000-0000-4000-8000-000000000001;sid="+sid+" take coin", "@id=00000000-0000-4000-8000-000000000001 OK coin taken")
}

func TestEvents(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	h.want(bob, "join Bob", "Hall\n\nA hall.\n\nIn this room, there is:\n  Ann")
	h.put(bob, "say one")
	h.wantHeard(ann, h.ev(sid, 1)+"Bob entered the room.", h.ev(sid, 2)+`Bob said "one".`)

	t.Run("sent again at growing intervals", func(t *testing.T) {
		h.t = t
		start, last := h.now, h.now
		var gaps []time.Duration
		for h.now.Sub(start) < 5*time.Second {
			h.pass(10 * time.Millisecond)
			if got := h.heard(ann); len(got) > 0 {
				if got[0] != h.ev(sid, 1)+"Bob entered the room." {
					t.Fatalf("first comes %q", got[0])
				}
				gaps = append(gaps, h.now.Sub(last))
				last = h.now
			}
		}
		if !slices.IsSorted(gaps) || gaps[0] > 210*time.Millisecond || gaps[len(gaps)-1] > lastResend+20*time.Millisecond || len(gaps) < 6 {
			t.Errorf("the intervals are %v", gaps)
		}
	})
	t.Run("until acknowledged", func(t *testing.T) {
		h.t = t
		h.want(ann, "@sid="+sid+";ack=1 ")
		h.pass(3 * time.Second)
		for _, text := range h.heard(ann) {
			if text != h.ev(sid, 2)+`Bob said "one".` {
				t.Errorf("after ack=1 comes %q", text)
			}
		}
		h.want(ann, "@sid="+sid+";ack=99 ") // more than was ever said
		h.want(ann, "@sid="+sid+";ack=0 ")
		h.pass(3 * time.Second)
		h.wantHeard(ann)
	})
	t.Run("numbered without gaps", func(t *testing.T) {
		h.t = t
		for i := range 3 {
			h.put(bob, "say more")
			h.wantHeard(ann, h.ev(sid, i+3)+`Bob said "more".`)
		}
		u := h.id()
		h.want(ann, "@id="+u+";sid="+sid+";ack=5 look", "@id="+u+" OK Hall\n\nA hall.\n\nIn this room, there is:\n  Bob")
		h.pass(2 * time.Second)
		h.wantHeard(ann)
	})
	t.Run("acknowledged only by who is meant", func(t *testing.T) {
		h.t = t
		h.put(bob, "say last")
		h.heard(ann)
		h.want(carol, "@sid=x"+sid+";ack=6 ")
		h.pass(time.Second)
		if len(h.heard(ann)) == 0 {
			t.Error("a stranger's acknowledgement counts")
		}
	})
}

func TestWindow(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	h.put(bob, "join Bob")
	for i := range 100 {
		h.tell(h.now, "", fmt.Sprint(i))
	}
	if got := h.heard(ann); len(got) != window {
		t.Errorf("%d events are under way", len(got))
	}
	h.put(carol, "@id="+h.id()+";sid="+sid+h.cookie(carol)+" look") // her address changes with events in flight
	if n := len(h.heard(carol)); n != 0 {
		t.Errorf("%d events at once", n)
	}
	got := h.put(carol, "@sid="+sid+";ack=10 ")
	if len(got) != 10 || !strings.HasPrefix(got[0], h.ev(sid, 33)) {
		t.Errorf("after 10 are acknowledged come %q", got)
	}
	// What has not been sent cannot be acknowledged.
	h.put(carol, "@sid="+sid+";ack=90 ")
	if e := h.sessions[sid].events[0].number; e != 43 {
		t.Errorf("the first that is not acknowledged is %d", e)
	}
}

func TestLog(t *testing.T) {
	var b strings.Builder
	h := newHall(t, Options{Logger: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))}, "lamp")
	for _, text := range []string{"join Ann", "take lamp", "take lamp", "say \"hi\"", "drop lamp", "north", "dance", "join Ann", "exit"} {
		h.put(ann, text)
	}
	want := `msg=entered player=Ann from=192.0.2.1:1001 dialect=plain
msg=took player=Ann item=lamp
msg=said player=Ann text="\"hi\""
msg=dropped player=Ann item=lamp
msg=left player=Ann heading=north to=Kitchen
msg=entered player=Ann from=192.0.2.1:1001 dialect=plain
msg=left player=Ann why=exit
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for i := range 1000 {
		from := fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255)
		h.put(from, "join Ann")
		h.put(from, "exit")
	}
	if n := strings.Count(b.String(), "\n"); n > logBurst {
		t.Errorf("%d records", n)
	}
	h.pass(time.Second)
	h.put(ann, "join Ann")
	if !strings.Contains(b.String(), "records_left_out_before=") {
		t.Error("the log does not say what it left out")
	}
}
