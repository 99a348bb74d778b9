package player

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"foyer/internal/exchange"
	"foyer/internal/udptest"
)

// newOfflineSession returns a session on an empty network.
func newOfflineSession(t testing.TB, peer talker) *Session {
	conn, err := udptest.New(1).Listen(netip.MustParseAddrPort("192.0.2.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &Session{
		log: slog.New(slog.DiscardHandler), chance: exchange.NewChance(nil), name: "room", conn: conn, peer: peer,
		turn: make(chan struct{}, 1), messages: make(chan string, messageBuffer), over: make(chan struct{}),
		addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:40001")},
	}
}

// FuzzTaggedRoom takes the lines of its input for datagrams of a room. "$" stands
// for "@sid=sid;", without which nothing is an event.
func FuzzTaggedRoom(f *testing.F) {
	for _, s := range []string{
		"", "disconnect", "@ev=1 a", "$ev=1 a\n$ev=2 b\n$ev=1 a", "$ev=1 disconnect\n$ev=2 b", "$ev=64 x\n$ev=65 y\n$ev=66 z",
		"$ev=999999999999999999 x", "$ev=1;ev=2 x", "$ev=1;lost=3 x\n$ev=2;lost=1 disconnect",
		"@id=018f0000-0000-7000-8000-000000000000;code=bad-cookie;cookie=c NOTOK", "@id=018f0000-0000-7000-8000-000000000000 OK",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, datagrams string) {
		peer := &tagged{sid: []byte("sid")}
		s := newOfflineSession(t, peer)
		told := uint64(0)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending, _ = peer.request(s, "look")
		s.pending.id = [16]byte{0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80}
		gaps := uint64(0)
		for line := range strings.Lines(datagrams) {
			if strings.Contains(line, "lost=") {
				gaps++
			}
			line = strings.ReplaceAll(line, "$", "@sid=sid;")
			if why := peer.took(s, []byte(strings.TrimSuffix(line, "\n")), s.addrs[0]); why != nil {
				s.finish(why)
			}
			if len(peer.early) > eventWindow || peer.told < told {
				t.Fatalf("%d early events, %d told after %d", len(peer.early), peer.told, told)
			}
			told = peer.told
		}
		if told > 0 && !strings.Contains(datagrams, "$") && !strings.Contains(datagrams, "sid=sid") {
			t.Error("what does not bear the sid is told")
		}
		if messages := uint64(len(s.messages)); messages > told+gaps || messages+1 < told && messages < messageBuffer {
			t.Errorf("%d messages of %d events", messages, told)
		}
	})
}

// FuzzPlainRoom takes the datagrams of a plain room for replies or messages.
func FuzzPlainRoom(f *testing.F) {
	for _, s := range [][2]string{
		{"look", "A\n\nb\n\nThe room is empty."}, {"take x", "x taken"}, {"drop x", "x dropped"}, {"say hi", `You said "hi".`},
		{"say", "What did you want to say?"}, {"north", "Great Hall"}, {"up", "You cannot go up from this room."},
		{"exit", "Goodbye"}, {"join A", "A is already here"}, {"look", `B said "x".`}, {"look", "disconnect"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, command, text string) {
		peer := &plain{}
		s := newOfflineSession(t, peer)
		s.mu.Lock()
		defer s.mu.Unlock()
		for range 2 * maxRecent {
			s.pending, _ = peer.request(s, command)
		}
		why := peer.took(s, []byte(text), s.addrs[0])
		if len(peer.recent) > maxRecent {
			t.Fatalf("%d commands are remembered", len(peer.recent))
		}
		if got := len(s.pending.reply) + len(s.messages); got > 1 || got == 1 && why == ErrDisconnected {
			t.Errorf("%q became %d things", text, got)
		}
		if why == ErrLeft && isRefusal(command, strings.TrimRight(text, "\r\n")) {
			t.Errorf("left by %q", text)
		}
	})
}
