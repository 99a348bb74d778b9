package room

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
	for range 10 { // Carol is idle but acknowledges
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
	h.want(bob, "look", wire.NotHere)
	if len(h.players)+len(h.plain)+len(h.sessions)+len(h.joins)+len(h.departed.entries) != 0 {
		t.Error("something is left of players who are gone")
	}
}

// TestStall: time in which the server did not run does not count as silence.
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

// TestSlowPlayers: nobody waits for a player who cannot keep up, who is told
// how many messages they have missed.
func TestSlowPlayers(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	other := h.join(bob, "Bob") // event 1
	const sayings = 1000
	for k := range sayings {
		u := h.id()
		h.want(bob, "@id="+u+";sid="+other+" say "+fmt.Sprint(k), "@id="+u+` OK You said "`+fmt.Sprint(k)+`".`)
		h.put(ann, "@sid="+sid+";ack=0 ")
		h.pass(time.Second / talkRate)
	}
	if n := len(h.sessions[sid].events) + len(h.sessions[sid].waiting); n != window+maxWaiting {
		t.Errorf("%d messages are kept", n)
	}
	h.heard(ann)
	told, lost := 0, uint64(0)
	for !h.sessions[sid].caughtUp() {
		for _, line := range h.put(ann, fmt.Sprintf("@sid=%s;ack=%d ", sid, window+told)) {
			told++
			tags, text, err := wire.ParseTags([]byte(line))
			if err != nil || tags.Ev != uint64(window+told) || string(tags.Sid) != sid {
				t.Fatalf("event %d comes as %q", window+told, line)
			}
			lost += tags.Lost
			// That Bob came is among the first.
			if want := fmt.Sprintf(`Bob said "%d".`, window-1+told-1+int(lost)); string(text) != want || (tags.Lost > 0) != (told == 1) {
				t.Errorf("event %d comes as %q, want %s", window+told, line, want)
			}
		}
	}
	if window+told+int(lost) != sayings+1 || told != maxWaiting {
		t.Errorf("%d were told and %d lost of %d", window+told, lost, sayings+1)
	}
}

// TestTalkers: only those who talk all the time are refused.
func TestTalkers(t *testing.T) {
	h := newHall(t, Options{})
	const talker2, talker3, quiet = "192.0.2.1:1002", "192.0.2.1:1003", "192.0.2.1:1004"
	sids := map[string]string{quiet: h.join(quiet, "Quiet"), ann: h.join(ann, "Ann"), talker2: h.join(talker2, "Ann2"), talker3: h.join(talker3, "Ann3"), carol: h.join(carol, "Carol")}
	h.put(bob, "join Bob")
	done, refused := map[string]int{}, map[string]int{}
	say := func(from string) {
		switch reply := h.put(from, "@id="+h.id()+";sid="+sids[from]+" say x"); {
		case strings.Contains(reply[0], " OK You said"):
			done[from]++
		case strings.Contains(reply[0], ";code=busy NOTOK "+errTooFast.Text):
			refused[from]++
		default:
			t.Errorf("%q", reply)
		}
	}
	const seconds = 20
	for i := range 100 * seconds {
		for _, from := range []string{ann, talker2, talker3} {
			say(from)
		}
		if i%100 == 99 && i > 100 { // when they have left nothing
			say(quiet)
		}
		if i == 99*seconds {
			h.join("192.0.2.1:1005", "Newcomer")
		}
		h.pass(10 * time.Millisecond)
	}
	if done[quiet] != seconds-1 {
		t.Errorf("who says one thing a second is refused %d times for their host's sake", refused[quiet])
	}
	for range seconds {
		say(carol)
		h.want(bob, "say hi", `You said "hi".`)
		h.pass(time.Second)
	}
	if done[carol] != seconds {
		t.Errorf("Carol said %d of %d", done[carol], seconds)
	}
	most := 0
	for _, from := range []string{ann, talker2, talker3} {
		if done[from] > seconds*talkRate+talkBurst {
			t.Errorf("%s said %d", from, done[from])
		}
		most += done[from]
	}
	if limit := seconds*(hostTalkRate+3*ownRate) + hostTalkBurst; most > limit || most < limit-5 {
		t.Errorf("one host said %d, want about %d", most, limit)
	}
	for range talkBurst + 1 {
		h.put(bob, "say x")
	}
	h.want(bob, "say x", wire.TooFast)
	h.pass(time.Second)
	h.want(bob, "say x", `You said "x".`)
}

func TestFullRoom(t *testing.T) {
	h := newHall(t, Options{})
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 2000+i) }
	for i := range world.MaxPlayers {
		h.put(at(i), fmt.Sprint("join P", i))
		h.put(at(i), "look") // whoever has sent only a join gives way
	}
	h.want(carol, "join Carol", "The room is full")
	u := h.id()
	h.want(carol, "@id="+u+h.cookie(carol)+" join Carol", "@id="+u+";code=busy NOTOK The room is full")
	h.pass(plainYields)
	for i := range world.MaxPlayers {
		if i != 7 {
			h.put(at(i), "look")
		}
	}
	if got := h.put(carol, "@id="+u+h.cookie(carol)+" join Carol"); len(got) != 1 || !strings.Contains(got[0], " OK Hall") {
		t.Errorf("nobody gave way: %q", got)
	}
	h.want(at(7), "look", wire.NotHere)
}

// TestPlainPlayerComesBack: a player who was cut off and comes back with
// another port need not wait for an hour.
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
	h.want(ann, "look", wire.NotHere)
}

func TestTaggedPlayerComesBack(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	sid := h.join(ann, "Ann")
	h.put(ann, "@id="+h.id()+";sid="+sid+" take lamp")
	const annAgain = "192.0.2.1:2001"
	u, v := h.id(), h.id()
	h.pass(playerReturns - time.Second)
	h.want(annAgain, "@id="+u+h.cookie(ann)+" join Ann", "@id="+u+";code=name-taken NOTOK Ann is already here")
	h.pass(time.Second)
	got := h.put(annAgain, "@id="+v+h.cookie(ann)+" join Ann")
	if len(got) != 1 || !strings.HasSuffix(got[0], " OK Hall\n\nA hall.\n\nIn this room, there is:\n  lamp") {
		t.Errorf("Ann comes back: %q", got)
	}
	w := h.id()
	h.want(ann, "@id="+w+";sid="+sid+" look", "@id="+w+";code=unknown-session NOTOK you are not in this room")
}

func TestPlayersOfOneHost(t *testing.T) {
	h := newHall(t, Options{})
	at := func(i int) string { return fmt.Sprintf("192.0.2.1:%d", 2000+i) }
	sids := make([]string, maxPerHost)
	for i := range maxPerHost {
		h.put(at(i), fmt.Sprint("join P", i))
		h.put(at(i), "look")
		sids[i] = h.join(at(1000+i), fmt.Sprint("T", i))
		h.pass(100 * time.Millisecond)
	}
	h.want(ann, "join Ann", wire.TooMany)
	u := h.id()
	h.want(ann, "@id="+u+h.cookie(ann)+" join Ann", "@id="+u+";code=busy NOTOK "+wire.TooMany)
	h.put(bob, "join Bob")
	h.put(at(5), "exit")
	h.put(ann, "join Ann")
	if len(h.players) != 2*maxPerHost+1 {
		t.Errorf("there are %d players", len(h.players))
	}
	h.put(at(1005), "@id="+h.id()+";sid="+sids[5]+" exit")
	h.join(at(2000), "Anna")
}

// TestNoEndlessTalk: replies of other servers are not answered.
func TestNoEndlessTalk(t *testing.T) {
	h := newHall(t, Options{})
	h.put(ann, "join Ann")
	for _, text := range []string{
		"Invalid command", "NOTOK unknown request \"Hall\"", wire.NotHere,
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
		"@id=" + u + " OK Hall", "@sid=x;ev=1 Bob entered the room.", "@code=malformed NOTOK x",
	} {
		h.want(bob, text)
	}
}

// TestBudget: a forged source gets no more than the budget allows.
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
	// Strangers get into no table, and hosts beyond its limit share a bucket.
	for i := range 2 * maxHosts {
		h.put(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1).String(), "dance")
	}
	if n := len(h.plainBytes.hosts); n != 1 {
		t.Errorf("%d hosts are kept", n)
	}
	b := budgets{rate: 1, burst: 10}
	for i := range 2 * maxHosts {
		b.spend(h.now, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
	}
	if len(b.hosts) != maxHosts || b.has(h.now, netip.MustParseAddr("10.1.0.0"), 1) {
		t.Errorf("%d hosts are kept", len(b.hosts))
	}
	b.spend(h.now.Add(time.Hour), netip.MustParseAddr("10.1.0.0"), 1)
	if len(b.hosts) != 1 {
		t.Errorf("%d hosts are still kept", len(b.hosts))
	}
}

// TestTablesAreBounded: what is kept for retries is bounded per host and in
// all.
func TestTablesAreBounded(t *testing.T) {
	h := newHall(t, Options{})
	at := func(host, i int) string {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)}), uint16(2000+i)).String()
	}
	h.put(ann, "join Ann")
	h.put(ann, "look")
	visit := func(from string) {
		t.Helper()
		u := h.id()
		h.want(from, "@id="+u+h.cookie(from)+" join Ann", "@id="+u+";code=name-taken NOTOK Ann is already here")
		sid := h.join(from, "Guest")
		h.put(from, "@id="+h.id()+";sid="+sid+" exit")
		h.put(from, "join Guest")
		h.put(from, "exit")
		h.pass(50 * time.Millisecond) // as fast as they may join
	}
	wantKept := func(departed, refused, goodbyes int) {
		t.Helper()
		if len(h.departed.entries) != departed || len(h.sessions) != departed || len(h.joins) != departed || len(h.refused.entries) != refused || len(h.goodbyes.entries) != goodbyes {
			t.Errorf("kept: %d departed, %d sessions, %d joins, want %d; %d refused joins, want %d; %d goodbyes, want %d",
				len(h.departed.entries), len(h.sessions), len(h.joins), departed, len(h.refused.entries), refused, len(h.goodbyes.entries), goodbyes)
		}
		if len(h.spent.entries) != len(h.isSpent) || len(h.spent.entries) > spentInAll {
			t.Errorf("kept: %d spent joins and %d", len(h.spent.entries), len(h.isSpent))
		}
	}
	for i := range 2 * perHost {
		visit(at(0, i))
	}
	wantKept(perHost, perHost, perHost)
	h.want(at(0, 2*perHost-1), "exit", "Goodbye")
	h.want(at(0, 0), "exit", wire.NotHere)
	for host := range inAll + 1 {
		if host > 0 {
			visit(at(host, 0))
			h.heard(ann)
		}
	}
	wantKept(perHost+inAll, inAll, int(keepGoodbye/(50*time.Millisecond)))
	const most = departedInAll / 8 // an eighth, to save time
	h.departed.inAll /= 8
	for i := range most {
		from := at(inAll+1+i, 0)
		sid := h.join(from, "Guest")
		h.put(from, "@id="+h.id()+";sid="+sid+" exit")
		h.sent = h.sent[:0]
		h.pass(300 * time.Microsecond) // maxHosts in a second
	}
	h.goodbyes.expire(h.now)
	wantKept(most, inAll, int((keepGoodbye-most*300*time.Microsecond)/(50*time.Millisecond)))
	h.pass(keepDeparted + tickGap)
	wantKept(0, 0, 0)
	if len(h.spent.entries)+len(h.isSpent)+len(h.departed.hosts)+len(h.spent.hosts) != 0 {
		t.Error("something is kept for ever")
	}
}

// TestDearOnesAreForgottenLast: of one host's things, dear ones are kept
// longest.
func TestDearOnesAreForgottenLast(t *testing.T) {
	m := memory[int]{keep: time.Hour, perHost: perHost, inAll: inAll}
	now := time.Unix(0, 0)
	host, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	m.add(now, other, -1, false)
	m.add(now, host, 0, true)
	for i := range 2 * perHost {
		m.add(now, host, i+1, false)
	}
	want := []int{-1, 0}
	for i := perHost + 2; i <= 2*perHost; i++ {
		want = append(want, i)
	}
	var got []int
	for _, e := range m.entries {
		got = append(got, e.thing)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// A host has only so many dear ones; the oldest then counts like the
	// others.
	for i := range dearPerHost {
		m.add(now, host, 1000+i, true)
	}
	if m.entries[0].thing != -1 || m.entries[1].thing == 0 || len(m.entries) != 1+perHost {
		t.Errorf("got %v", m.entries)
	}
	for i := range perHost {
		m.add(now, host, i, false)
	}
	for i := range dearPerHost {
		if e := m.entries[1+i]; e.thing != 1000+i || !e.dear {
			t.Errorf("got %v", e)
		}
	}
}

// TestDearOnesOfFewAreForgottenLast: the same over all hosts.
func TestDearOnesOfFewAreForgottenLast(t *testing.T) {
	m := memory[int]{keep: time.Hour, perHost: perHost, inAll: inAll}
	now := time.Unix(0, 0)
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	has := func(thing int) bool { return m.find(now, func(i *int) bool { return *i == thing }) != nil }
	m.add(now, at(0), -1, true)
	for i := range 2 * inAll {
		m.add(now, at(1+i), i, false)
	}
	if !has(-1) || !has(2*inAll-1) || len(m.entries) != inAll {
		t.Error("what something depends on is forgotten for what nothing does")
	}
	for i := range inAll / dearPerHost * 8 { // many hosts that pretend
		for range 2 * dearPerHost {
			m.add(now, at(1+i), i, true)
		}
	}
	if !has(-1) || len(m.entries) != inAll {
		t.Error("what something depends on is forgotten for the hosts that have most of it")
	}
	// A newcomer that is not dear does not push out what is.
	for i := range inAll {
		m.add(now, at(1+i), -2, true)
	}
	m.add(now, at(inAll+1), -3, false)
	if has(-3) || len(m.entries) != inAll || len(m.hosts) > inAll {
		t.Error("what something depends on is forgotten for one that is not")
	}
}

// TestWhoTookThingsIsForgottenLast: otherwise they would count as gone, and the
// things would be lost.
func TestWhoTookThingsIsForgottenLast(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	leave := func(name, take string) (north string) {
		sid := h.join(ann, name)
		h.put(ann, "@id="+h.id()+";sid="+sid+" take "+take)
		north = "@id=" + h.id() + ";sid=" + sid + " north"
		h.put(ann, north)
		return north
	}
	lamp, nothing := leave("Ann", "lamp"), leave("Anna", "nothing")
	for range 2 * perHost {
		leave("Guest", "nothing")
		h.pass(50 * time.Millisecond)
	}
	if got := h.put(ann, lamp); len(got) != 1 || !strings.HasSuffix(got[0], " OK Kitchen") {
		t.Errorf("who left with a lamp hears %q", got)
	}
	if got := h.put(ann, nothing); len(got) != 1 || !strings.Contains(got[0], ";code=unknown-session ") {
		t.Errorf("who left with nothing hears %q", got)
	}
}

// TestFarewellToTheSlow: a player who is far behind gets the farewell with what
// is in flight, and is told how much was left out.
func TestFarewellToTheSlow(t *testing.T) {
	h := newHall(t, Options{})
	sid := h.join(ann, "Ann")
	for i := range 300 {
		h.tell(h.now, "", fmt.Sprint(i))
	}
	h.heard(ann)
	h.sendFarewell(h.now)
	got := h.heard(ann)
	if want := fmt.Sprintf("@sid=%s;ev=%d;lost=%d disconnect", sid, window+1, 300-window); len(got) != window+1 || got[window] != want {
		t.Errorf("%d datagrams, the last %q, want %q", len(got), got[len(got)-1], want)
	}
	h.put(ann, fmt.Sprintf("@sid=%s;ack=%d ", sid, window+1))
	if !h.allAcknowledged() {
		t.Error("it does not close when the end is acknowledged")
	}
}

// TestComingAndGoingGainsNothing: joining again does not allow more talk.
func TestComingAndGoingGainsNothing(t *testing.T) {
	h := newHall(t, Options{})
	const seconds = 20
	said := 0
	for range seconds * hostJoinRate {
		sid := h.join(ann, "Ann")
		for range 5 {
			if strings.Contains(h.put(ann, "@id="+h.id()+";sid="+sid+" say x")[0], " OK ") {
				said++
			}
		}
		h.put(ann, "@id="+h.id()+";sid="+sid+" exit")
		h.pass(time.Second / hostJoinRate)
	}
	if limit := seconds*(hostTalkRate+ownRate) + hostTalkBurst; said > limit {
		t.Errorf("one player of a host said %d, want %d at most", said, limit)
	}
}

// TestGoodbyeIsForgotten: a player who came back and is gone again does not get
// the earlier goodbye.
func TestGoodbyeIsForgotten(t *testing.T) {
	h := newHall(t, Options{})
	h.put(bob, "join Bob")
	h.want(bob, "exit", "Goodbye")
	h.want(bob, "exit", "Goodbye")
	h.put(bob, "join Bob")
	h.evict(h.now, mustAddr(bob).Addr())
	h.want(bob, "exit", wire.NotHere)
}

// TestLoopbackOfBothKinds: ::1 is treated like 127.0.0.1.
func TestLoopbackOfBothKinds(t *testing.T) {
	for _, from := range []string{"127.0.0.1:1001", "[::1]:1001"} {
		h := newHall(t, Options{})
		for i := range loopbackShares*perHost + 1 {
			sid := h.join(from, fmt.Sprint("P", i))
			h.put(from, "@id="+h.id()+";sid="+sid+" exit")
			h.pass(50 * time.Millisecond)
		}
		if n := len(h.departed.entries); n != loopbackShares*perHost {
			t.Errorf("of %s %d departed are kept", from, n)
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
	h.wantHeard(ann, h.ev(sid, 1)+"Bob entered the room.", h.ev(sid, 2)+"disconnect")

	// Nobody is let in any more, and nothing is carried out; but replies to
	// earlier requests are sent again.
	h.want(carol, "join Carol")
	h.want(carol, "@id="+h.id()+h.cookie(carol)+" join Carol")
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
