package roomserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer/wire"
	"foyer/world"
)

func TestSilentPlayers(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	sid := h.join(ann, "Ann")
	h.put(bob, "join Bob")
	other := h.join(carol, "Carol")
	h.put(ann, "@id="+h.id()+";sid="+sid+" take lamp")
	h.heard(ann)
	h.heard(bob)
	for range 10 { // Carol has nothing to say but does say so
		h.pass(10 * time.Second)
		h.put(carol, "@sid="+other+";ack=9 ")
	}
	h.wantHeard(bob, "Ann left the game.")
	h.want(bob, "look", "Hall\n\nA hall.\n\nIn this room, there are:\n  lamp\n  Carol")
	u := h.id()
	h.want(ann, "@id="+u+";sid="+sid+" look", "@id="+u+";code=unknown-session NOTOK you are not in this room")
	h.pass(playerSilence)
	h.wantHeard(bob, "Carol left the game.")
	h.pass(plainSilence - playerSilence - time.Second)
	if len(h.players) != 1 {
		t.Error("Bob has left early")
	}
	h.pass(time.Second)
	h.want(bob, "look", notHere)
	if len(h.players)+len(h.plain)+len(h.sessions)+len(h.joins)+len(h.departed) != 0 {
		t.Error("something is left of players who are gone")
	}
}

// TestStall: time in which the server did not run is nobody's silence.
func TestStall(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	h.now = h.now.Add(10 * time.Minute)
	h.tick(h.now)
	if len(h.players) != 1 {
		t.Error("Ann is gone")
	}
	h.put(ann, "@sid="+sid+";ack=0 ")
	h.pass(playerSilence)
	if len(h.players) != 0 {
		t.Error("Ann is not gone")
	}
}

func TestSlowPlayers(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	other := h.join(bob, "Bob")
	say := func() string {
		return h.put(bob, "@id="+h.id()+";sid="+other+" say hi")[0]
	}
	for range slowQueue - 1 { // Bob's joining is one
		if got := say(); !strings.Contains(got, " OK ") {
			t.Fatalf("refused early: %s", got)
		}
	}
	if got := say(); !strings.Contains(got, ";code=busy NOTOK ") {
		t.Errorf("while Ann catches up: %s", got)
	}
	h.put(ann, "@sid="+sid+";ack=20 ")
	if got := say(); !strings.Contains(got, " OK ") {
		t.Errorf("when Ann has caught up: %s", got)
	}
	// Somebody who acknowledges nothing holds up nobody for long.
	h.pass(slowAge)
	for range maxUnacked {
		if got := say(); !strings.Contains(got, " OK ") {
			t.Fatalf("held up by somebody who is gone: %s", got)
		}
	}
	if len(h.players) != 1 || h.sessions[sid].player != nil {
		t.Error("Ann is still there")
	}
	h.pass(time.Second)
	if got := h.heard(bob); len(got) == 0 || got[0] != "@ev=1 Ann left the game." {
		t.Errorf("Bob hears %q", got)
	}
}

func TestFullRoom(t *testing.T) {
	h := newHall(t, Options{})
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 2000+i) }
	for i := range world.MaxPlayers {
		h.put(at(i), fmt.Sprint("join P", i))
	}
	h.want(carol, "join Carol", "The room is full")
	u := h.id()
	h.want(carol, "@id="+u+" join Carol", "@id="+u+";code=busy NOTOK The room is full")
	h.pass(plainYields)
	for i := range world.MaxPlayers {
		if i != 7 {
			h.put(at(i), "look")
		}
	}
	if got := h.put(carol, "@id="+u+" join Carol"); len(got) != 1 || !strings.Contains(got[0], " OK Hall") {
		t.Errorf("nobody gave way: %q", got)
	}
	h.want(at(7), "look", notHere)
}

// TestPlainPlayerComesBack: whoever was cut off and has another port now need
// not wait for an hour.
func TestPlainPlayerComesBack(t *testing.T) {
	h := newHall(t, Options{})
	h.put(bob, "join Bob")
	h.put(ann, "join Ann")
	h.heard(bob)
	const annAgain, elsewhere = "192.0.2.1:2001", "198.51.100.1:1001"
	h.want(annAgain, "join Ann", "Ann is already here")
	h.pass(plainReturns - time.Second)
	h.want(annAgain, "join Ann", "Ann is already here")
	h.pass(time.Second)
	h.want(elsewhere, "join Ann", "Ann is already here")
	h.want(annAgain, "join Ann", "Hall\n\nA hall.\n\nIn this room, there is:\n  Bob")
	h.wantHeard(bob, "Ann left the game.", "Ann entered the room.")
	h.want(ann, "look", notHere)
}

func TestTaggedPlayerComesBack(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	sid := h.join(ann, "Ann")
	h.put(ann, "@id="+h.id()+";sid="+sid+" take lamp")
	const annAgain = "192.0.2.1:2001"
	u, v := h.id(), h.id()
	h.pass(playerReturns - time.Second)
	h.want(annAgain, "@id="+u+" join Ann", "@id="+u+";code=name-taken NOTOK Ann is already here")
	h.pass(time.Second)
	got := h.put(annAgain, "@id="+v+" join Ann")
	if len(got) != 1 || !strings.HasSuffix(got[0], " OK Hall\n\nA hall.\n\nIn this room, there is:\n  lamp") {
		t.Errorf("Ann comes back: %q", got)
	}
	w := h.id()
	h.want(ann, "@id="+w+";sid="+sid+" look", "@id="+w+";code=unknown-session NOTOK you are not in this room")
}

func TestPlayersOfOneHost(t *testing.T) {
	h := newHall(t, Options{})
	at := func(i int) string { return fmt.Sprintf("192.0.2.1:%d", 2000+i) }
	for i := range maxPerHost {
		h.put(at(i), fmt.Sprint("join P", i))
	}
	h.want(ann, "join Ann", tooMany)
	u := h.id()
	h.want(ann, "@id="+u+" join Ann", "@id="+u+";code=busy NOTOK "+tooMany)
	h.put(bob, "join Bob")
	h.put(at(5), "exit")
	h.put(ann, "join Ann")
	if len(h.players) != maxPerHost+1 {
		t.Errorf("there are %d players", len(h.players))
	}
}

// TestNoEndlessTalk: what servers say to each other is not answered.
func TestNoEndlessTalk(t *testing.T) {
	h := newHall(t, Options{})
	h.put(ann, "join Ann")
	for _, text := range []string{
		"Invalid command", "NOTOK unknown request \"Hall\"", notHere,
		"OK", "OK room://192.0.2.1:1", "NOTOK",
	} {
		h.want(bob, text)
		if !strings.HasPrefix(text, "OK") || strings.Contains(text, "OK ") {
			h.want(ann, text)
		}
	}
	u := h.id()
	for _, text := range []string{
		"@id=" + u + ";code=unknown-session NOTOK you are not in this room",
		"@id=" + u + " OK Hall", "@ev=1 Bob entered the room.", "@code=malformed NOTOK x",
	} {
		h.want(bob, text)
	}
}

// TestBudget: a forged source gets no more than the budget says.
func TestBudget(t *testing.T) {
	h := newHall(t, Options{}, slices.Repeat([]string{strings.Repeat("x", 100)}, 20)...)
	in, out := 0, 0
	for range 10_000 {
		in += len("join A") + wire.HeaderSize
		for _, text := range h.put(ann, "join A") {
			out += len(text) + wire.HeaderSize
		}
	}
	if most := hostBurst + wire.Amplification*in + 100; out > most || out < hostBurst {
		t.Errorf("%d bytes in, %d out, at most %d are allowed", in, out, most)
	}
	h.pass(time.Second)
	if len(h.put(ann, "look")) == 0 {
		t.Error("the budget does not grow again")
	}
	// Hosts beyond the table share one budget.
	for i := range 2 * maxHosts {
		h.put(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1).String(), "dance")
	}
	if len(h.budgets.hosts) > maxHosts {
		t.Errorf("%d hosts are kept", len(h.budgets.hosts))
	}
	h.pass(time.Hour)
	h.put(bob, "dance")
	if len(h.budgets.hosts) > 2 {
		t.Errorf("%d hosts are still kept", len(h.budgets.hosts))
	}
}

// TestTablesAreBounded: what is kept for retries of those who came and went.
func TestTablesAreBounded(t *testing.T) {
	h := newHall(t, Options{})
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 2000+i) }
	h.put(ann, "join Ann")
	for i := range 2 * maxDeparted {
		h.put(at(i), "@id="+h.id()+" join Ann")
		sid := h.join(at(i), "Guest")
		h.put(at(i), "@id="+h.id()+";sid="+sid+" exit")
		h.put(at(i), "join Guest")
		h.put(at(i), "exit")
	}
	if len(h.departed) != maxDeparted || len(h.sessions) != maxDeparted || len(h.joins) != maxDeparted {
		t.Errorf("kept: %d departed, %d sessions, %d joins", len(h.departed), len(h.sessions), len(h.joins))
	}
	if len(h.refused) != maxRefused {
		t.Errorf("kept: %d refused joins", len(h.refused))
	}
	if len(h.goodbyes) != maxGoodbyes {
		t.Errorf("kept: %d goodbyes", len(h.goodbyes))
	}
	h.want(at(0), "exit", "Goodbye")
	h.pass(keepGoodbye)
	last := at(2*maxDeparted + 1)
	h.put(last, "join Guest")
	h.put(last, "exit")
	h.want(last, "exit", "Goodbye")
	if len(h.goodbyes) != 1 {
		t.Errorf("kept: %d goodbyes that are old", len(h.goodbyes)-1)
	}
}

// TestHosts: whoever has one address of an IPv6 network has all of them.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth0", true},
	} {
		if same := hostOf(netip.MustParseAddr(c.a)) == hostOf(netip.MustParseAddr(c.b)); same != c.same {
			t.Errorf("%s and %s are one host: %v", c.a, c.b, same)
		}
	}
}

func TestFarewell(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	u := h.id()
	h.put(ann, "@id="+u+";sid="+sid+" say hi")
	h.put(bob, "join Bob")
	h.heard(ann)
	h.sendFarewell(h.now)
	h.wantHeard(bob, "disconnect")
	h.wantHeard(ann, "@ev=1 Bob entered the room.", "@ev=2 disconnect")

	// Nobody is let in any more, and nothing is done; but who missed the reply
	// to what was done before gets it.
	h.want(carol, "join Carol")
	h.want(carol, "@id="+h.id()+" join Carol")
	h.want(bob, "look")
	h.want(ann, "@id="+h.id()+";sid="+sid+" say more")
	h.want(ann, "@id="+u+";sid="+sid+" say hi", "@id="+u+` OK You said "hi".`)
	h.pass(4 * hurriedResend)
	if got := h.heard(ann); len(got) < 6 {
		t.Errorf("it is not in a hurry: %q", got)
	}
	h.put(ann, "@sid="+sid+";ack=1 ")
	if h.allAcknowledged() {
		t.Error("it closes before the end is acknowledged")
	}
	h.put(ann, "@sid="+sid+";ack=2 ")
	if !h.allAcknowledged() {
		t.Error("it does not close when the end is acknowledged")
	}
}
