package room

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"foyer/wire"
)

// manyHosts returns the i-th of more hosts than any table holds, half of them
// IPv6.
func manyHosts(i int) string {
	addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	if i%2 == 1 {
		addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
	}
	return netip.AddrPortFrom(addr, 1001).String()
}

// TestThingsOfTheDepartedAcrossHosts: strangers from more hosts than the memory
// holds do not make the room forget its reply to somebody who has left with a
// lamp, even if they all leave with something.
func TestThingsOfTheDepartedAcrossHosts(t *testing.T) {
	h := newHall(t, Options{}, "lamp")
	const most = departedInAll / 16 // a sixteenth, to save time
	h.departed.inAll /= 16
	sid := h.join(ann, "Ann")
	h.put(ann, "@id="+h.id()+";sid="+sid+" take lamp")
	north := "@id=" + h.id() + ";sid=" + sid + " north"
	h.put(ann, north)
	visit := func(from string, commands ...string) {
		guest := h.join(from, "Guest")
		for _, c := range commands {
			h.put(from, "@id="+h.id()+";sid="+guest+" "+c)
		}
		h.sent = h.sent[:0]
	}
	check := func(after string) {
		t.Helper()
		if got := h.put(ann, north); len(got) != 1 || !strings.HasSuffix(got[0], " OK Kitchen") {
			t.Errorf("after %s, who left with a lamp hears %q", after, got)
		}
	}
	for i := range most + 1000 {
		visit(manyHosts(i), "exit")
		h.pass(300 * time.Microsecond) // maxHosts in a second
	}
	check("many who came and went")
	for i := range most/dearPerHost + 100 {
		for range dearPerHost {
			visit(manyHosts(i), "drop x", "take x", "north")
		}
		h.pass(5 * time.Millisecond)
	}
	check("many who left with things")
	if len(h.departed.entries) != most {
		t.Errorf("%d are kept", len(h.departed.entries))
	}
}

// TestDepartedAreSmall: what is kept of those who left takes bounded memory.
func TestDepartedAreSmall(t *testing.T) {
	h := newHall(t, Options{}, fill...)
	before := memoryInUse()
	const sessions = 512
	for i := range sessions {
		from := manyHosts(i)
		join := "@id=" + h.id() + h.cookie(from) + " join G"
		tags, _, err := wire.ParseTags([]byte(h.put(from, join)[0]))
		if err != nil {
			t.Fatal(err)
		}
		sid := string(tags.Sid)
		for range maxReplies - 1 {
			h.put(from, "@id="+h.id()+";sid="+sid+" e")
		}
		exit := "@id=" + h.id() + ";sid=" + sid + " exit"
		bye := h.put(from, exit)
		if i == 0 {
			h.want(from, exit, bye...)
			h.want(from, join, join[:len("@id=")+36]+";code=stale-request NOTOK "+errStale.Text)
		}
		h.pass(300 * time.Microsecond)
		size := 0
		for _, r := range append(h.sessions[sid].replies, h.sessions[sid].joined) {
			size += len(r.reply)
		}
		if size > wire.MaxDatagram {
			t.Fatalf("%d bytes of replies are kept", size)
		}
	}
	each := (memoryInUse() - before) / sessions
	t.Logf("a departed session: %d bytes; %d of them: %d MB", each, h.departed.inAll, each*int64(h.departed.inAll)>>20)
	if each > 5000 || len(h.departed.entries) != sessions {
		t.Errorf("%d bytes are kept of each of %d", each, len(h.departed.entries))
	}
	runtime.KeepAlive(h)
}

func memoryInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLateCopiesOfJoins: a copy of a join that arrives when the session, or its
// refusal, has been forgotten lets nobody in.
func TestLateCopiesOfJoins(t *testing.T) {
	h := newHall(t, Options{})
	stale := func(join string) {
		t.Helper()
		h.want(ann, join, join[:len("@id=")+36]+";code=stale-request NOTOK "+errStale.Text)
	}
	join := "@id=" + h.id() + h.cookie(ann) + " join Ann"
	tags, _, err := wire.ParseTags([]byte(h.put(ann, join)[0]))
	if err != nil {
		t.Fatal(err)
	}
	bobs := h.join(bob, "Bob")
	refused := "@id=" + h.id() + h.cookie(ann) + " join Bob"
	h.put(ann, refused)
	h.put(ann, "@id="+h.id()+";sid="+string(tags.Sid)+" exit")
	for i := range perHost + 1 {
		sid := h.join(ann, fmt.Sprint("Guest", i))
		h.put(ann, "@id="+h.id()+h.cookie(ann)+" join Bob")
		h.put(ann, "@id="+h.id()+";sid="+sid+" exit")
		h.pass(time.Second / 10)
	}
	h.put(bob, "@id="+h.id()+";sid="+bobs+" exit")
	if len(h.departed.entries) != perHost+1 || len(h.refused.entries) != perHost {
		t.Fatalf("%d departed and %d refused joins are kept", len(h.departed.entries), len(h.refused.entries))
	}
	stale(join)
	stale(refused)
	if len(h.players) != 0 {
		t.Errorf("%d ghosts are in the room", len(h.players))
	}
	// Nor does the sid of somebody who has left replace the cookie.
	sid := h.join(ann, "Ann")
	h.put(ann, "@id="+h.id()+";sid="+sid+" exit")
	u := h.id()
	h.want(ann, "@id="+u+";sid="+sid+" join Ann", "@id="+u+";code=bad-cookie"+h.cookie(ann)+" NOTOK "+errCookie.Text)
	// When the cookies are no longer valid, nothing need be kept.
	h.pass(keepDeparted)
	if len(h.isSpent) != 0 {
		t.Errorf("%d spent joins are kept", len(h.isSpent))
	}
	u = join[len("@id="):][:36]
	h.want(ann, join, "@id="+u+";code=bad-cookie"+h.cookie(ann)+" NOTOK "+errCookie.Text)
}
