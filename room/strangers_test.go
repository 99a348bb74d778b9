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

// fill makes the summary as long as possible.
var fill = slices.Repeat([]string{strings.Repeat("x", 100)}, 20)

// TestForgedTaggedJoins: forged joins take no place, leave nothing behind, and
// cause at most three bytes for each one received.
func TestForgedTaggedJoins(t *testing.T) {
	h := newHall(t, Options{}, fill...)
	forge := func(from string) {
		u := h.id()
		in := "@id=" + u + " join A"
		got := h.put(from, in)
		if len(got) != 1 || got[0] != "@id="+u+";code=bad-cookie"+h.cookie(from)+" NOTOK ask again with this cookie" {
			t.Fatalf("a forged join is answered %q", got)
		}
		if out := len(got[0]) + wire.HeaderSize; out > wire.Amplification*(len(in)+wire.HeaderSize) {
			t.Errorf("%d bytes in, %d bytes out", len(in)+wire.HeaderSize, out)
		}
		// Nor does a guess help, or a cookie of another address.
		for _, cookie := range []string{";cookie=", ";cookie=AAAAAAAAAAAAAAAAAAAAAA", h.cookie("198.51.100.1:1")} {
			h.want(from, "@id="+u+cookie+" join A", got...)
		}
	}
	for i := range maxPerHost {
		forge(fmt.Sprintf("192.0.2.1:%d", 2000+i))
	}
	for i := range 320 {
		forge(fmt.Sprintf("10.0.0.%d:%d", 1+i%5, 2000+i))
	}
	if n := len(h.players) + len(h.sessions) + len(h.joins) + len(h.refused.entries) + len(h.plainBytes.hosts) + len(h.talk.hosts); n > 0 {
		t.Errorf("%d things are kept", n)
	}
	h.join(ann, "Ann")
	u := h.id()
	cookie := h.cookie(bob)
	h.pass(2 * cookieWindow)
	h.want(bob, "@id="+u+cookie+" join Bob", "@id="+u+";code=bad-cookie"+h.cookie(bob)+" NOTOK ask again with this cookie")
}

// TestMovedSession: a session follows its player to another address only when
// that is proven: otherwise the room's talk could be directed at anybody.
func TestMovedSession(t *testing.T) {
	h := newHall(t, Options{}, fill...)
	sid := h.join(ann, "Ann")
	const victim = "198.51.100.1:1"
	for range 10 {
		in := "@id=" + h.id() + ";sid=" + sid + " look"
		for _, text := range h.put(victim, in) {
			if len(text)+wire.HeaderSize > wire.ReplyBudget(len(in)) {
				t.Errorf("%q is answered %q", in, text)
			}
		}
		h.put(victim, "@sid="+sid+";ack=0 ")
	}
	h.put(bob, "join Bob")
	h.wantHeard(victim)
	h.wantHeard(ann, h.ev(sid, 1)+"Bob entered the room.")
	h.put(carol, "@id="+h.id()+";sid="+sid+";ack=1"+h.cookie(carol)+" look")
	h.put(bob, "say hi")
	h.wantHeard(carol, h.ev(sid, 2)+`Bob said "hi".`)
	h.put("192.0.2.3:9", "@sid="+sid+";ack=2 ") // another port of a known address
	h.put(bob, "say ho")
	h.wantHeard("192.0.2.3:9", h.ev(sid, 3)+`Bob said "ho".`)
}

// TestSessionLeftBehind: whoever leaves an address cannot make the room send to
// it for long, because datagrams from elsewhere do not count.
func TestSessionLeftBehind(t *testing.T) {
	h := newHall(t, Options{})
	const victim, elsewhere = "10.1.0.1:1001", "10.2.0.1:1001"
	sid := h.join(victim, "Victim")
	mover := h.join(carol, "Carol")
	speaker := h.join(bob, "Bob")
	h.put(carol, "@sid="+mover+";ack=1 ")
	h.heard(victim)
	start, bytes, heard := h.now, 0, time.Duration(0)
	say := "say " + strings.Repeat("x", 1000)
	for h.now.Sub(start) < 5*time.Minute {
		h.put(bob, "@id="+h.id()+";sid="+speaker+";ack=99 "+say)
		h.put(elsewhere, "@sid="+sid+";ack=9999 ")
		h.put(elsewhere, "@id="+h.id()+";sid="+sid+" look")
		// Carol has moved, and proves that with her next request.
		h.put("192.0.2.33:1", "@sid="+mover+";ack=9999 ")
		if since := h.now.Sub(start) % playerReturns; since == 0 {
			h.put("192.0.2.33:1", "@id="+h.id()+";sid="+mover+h.cookie("192.0.2.33:1")+" look")
		}
		h.pass(100 * time.Millisecond)
		for _, text := range h.heard(victim) {
			bytes += len(text) + wire.HeaderSize
			heard = h.now.Sub(start)
		}
		h.sent = h.sent[:0]
	}
	if p := h.players["Victim"]; p != nil || heard > playerSilence {
		t.Errorf("the session is still there after %v", heard)
	}
	if h.players["Carol"] == nil {
		t.Error("who has moved is gone")
	}
	t.Logf("%d bytes", bytes)
	if most := window * 1100 * (4 + int(quietAfter/lastResend)); bytes > most+25*1100 {
		t.Errorf("it is sent %d bytes", bytes)
	}
}

// TestForgedPlainJoins: plain players who have sent only a join give way to
// whoever has sent more.
func TestForgedPlainJoins(t *testing.T) {
	h := newHall(t, Options{})
	forged := 0
	forge := func(host string) {
		forged++
		h.put(fmt.Sprintf("%s:%d", host, 2000+forged), fmt.Sprint("join F", forged))
		h.pass(50 * time.Millisecond) // as often as the strangers' budget allows
	}
	for range maxPerHost + 6 {
		forge("192.0.2.1")
	}
	if len(h.players) != maxPerHost {
		t.Fatalf("%d of one host are in the room", len(h.players))
	}
	sid := h.join(ann, "Ann") // of the same host
	const plainAnn = "192.0.2.1:1002"
	if got := h.put(plainAnn, "join Anna"); len(got) != 1 || !strings.HasPrefix(got[0], "Hall") {
		t.Errorf("a plain player of that host: %q", got)
	}
	h.put(plainAnn, "look")
	for i := range 320 {
		forge(fmt.Sprintf("10.0.0.%d", 1+i%5))
		if i%100 == 0 {
			h.put(ann, "@sid="+sid+";ack=999 ")
		}
	}
	if len(h.players) > world.MaxPlayers || h.players["Ann"] == nil || h.players["Anna"] == nil {
		t.Errorf("%d players", len(h.players))
	}
	if got := h.put(bob, "join Bob"); len(got) != 1 || !strings.HasPrefix(got[0], "Hall") {
		t.Errorf("a plain player: %q", got)
	}
	h.put(bob, "look")
	h.join(carol, "Carol")
	// The limit of a host applies to players who have sent more than a join.
	for i := range world.MaxPlayers {
		from := fmt.Sprintf("10.1.0.%d:%d", i/50, 2000+i)
		h.put(from, fmt.Sprint("join P", i))
		h.put(from, "look")
		h.put(ann, "@sid="+sid+";ack=999 ")
		h.pass(50 * time.Millisecond)
	}
	for _, p := range h.players {
		if p.standing() == stranger {
			t.Fatalf("%s is still there", p.name)
		}
	}
	if h.players["Bob"] == nil || h.players["Ann"] == nil {
		t.Error("players who were there had to leave")
	}
}

// TestForgedName: a plain newcomer keeps a name only for a short while.
func TestForgedName(t *testing.T) {
	h := newHall(t, Options{})
	h.put(bob, "join Ann")
	u := h.id()
	h.want(ann, "@id="+u+h.cookie(ann)+" join Ann", "@id="+u+";code=name-taken NOTOK Ann is already here")
	h.pass(showsBy)
	h.want(carol, "join Ann", "Ann is already here")
	h.join(ann, "Ann")
	h.want(bob, "look", wire.NotHere)

	h.put(bob, "join Bob")
	h.put(bob, "look")
	h.pass(showsBy)
	v := h.id()
	h.want(carol, "@id="+v+h.cookie(carol)+" join Bob", "@id="+v+";code=name-taken NOTOK Bob is already here")
	h.pass(plainReturns - showsBy)
	h.want("192.0.2.4:1", "join Bob", "Bob is already here")
	h.join(carol, "Bob")
	h.want(bob, "look", wire.NotHere)
}

// TestPlainAmplification: what strangers can have sent to forged addresses is
// at most three bytes for one plus a small budget, whatever hosts they forge
// and whatever is said in the room.
func TestPlainAmplification(t *testing.T) {
	h := newHall(t, Options{}, fill...)
	in, out, joins := 0, 0, 0
	start := h.now
	forge := func(from netip.AddrPort, text string) {
		in += len(text) + wire.HeaderSize
		h.handle(h.now, datagram{[]byte(text), from})
		for _, s := range h.sent {
			out += len(s.text) + wire.HeaderSize
			if strings.HasPrefix(s.text, "Hall") {
				joins++
			}
		}
		h.sent = h.sent[:0]
	}
	for i := range 20_000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		forge(from, "join A"[:5]+fmt.Sprint(i))
		forge(from, "dance")
		h.pass(time.Millisecond)
	}
	seconds := h.now.Sub(start).Seconds()
	t.Logf("in %.0f s: %d bytes in, %d out, %d summaries", seconds, in, out, joins)
	if most := wire.Amplification*in + hostBurst + int(seconds*hostRate); out > most {
		t.Errorf("%d bytes in, %d out, at most %d are allowed", in, out, most)
	}
	if rest := out - 2*in; rest > hostBurst+int(seconds*hostRate) || joins == 0 {
		t.Errorf("%d bytes in, %d out, %d summaries", in, out, joins)
	}
	// Tagged players of one of those hosts notice nothing.
	sid := h.join("10.0.0.1:9", "Ann")
	u := h.id()
	if got := h.put("10.0.0.1:9", "@id="+u+";sid="+sid+" look"); len(got) != 1 || !strings.HasPrefix(got[0], "@id="+u+" OK Hall") {
		t.Errorf("a tagged player hears %q", got)
	}
}
