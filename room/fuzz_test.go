package room

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"foyer/wire"
	"foyer/world"
)

// FuzzDatagrams sends arbitrary datagrams from a tagged player, a plain one and
// a stranger. In the input they are separated by line breaks and begin with the
// sender; "$" stands for the player's session id and "%" for the stranger's
// cookie.
func FuzzDatagrams(f *testing.F) {
	f.Add([]byte("pjoin Bob\nslook\ntsay hi\n"), false)
	f.Add([]byte("t@id=01949eef-e000-7000-8000-0000000000aa;sid=$;ack=1 take lamp\nt@sid=$;ack=2 \ntexit"), false)
	f.Add([]byte("s@id=01949eef-e000-7000-8000-0000000000aa join Carol\ns@id=01949eef-e000-7000-8000-0000000000aa join Carl\n"), false)
	f.Add([]byte("t@id=01949eef-e000-7000-8000-0000000000aa;sid=$ north\nt@id=01949eef-e000-7000-8000-0000000000aa;sid=$ north\nt@sid=$;ack=0 "), false)
	f.Add([]byte("pnorth\npnorth\npjoin Bob\npjoin\xff\npsay \x1b[0m"), true)
	f.Add([]byte("s@id=01949eef-e000-7000-8000-0000000000ab;cookie=% join Carol\ns@id=01949eef-e000-7000-8000-0000000000ac;sid=$;cookie=% look\n"), false)
	f.Add([]byte("s@\ns@id=\ns@;;= \nsNOTOK\nsOK x\ns@ev=1 x\ns@code=x y"), false)
	f.Fuzz(func(t *testing.T, script []byte, plainOnly bool) {
		h := newHall(t, Options{PlainOnly: plainOnly}, "lamp", "coin")
		sid := ""
		if !plainOnly {
			sid = h.join(ann, "Ann")
		}
		h.put(bob, "join Bob")
		from := map[byte]string{'t': ann, 'p': bob, 's': carol}
		plain := map[netip.AddrPort]bool{mustAddr(bob): true} // whose names may look like tags
		proven := false                                       // the stranger may have returned the cookie
		for line := range bytes.SplitSeq(script, []byte{'\n'}) {
			if len(line) == 0 {
				continue
			}
			who, ok := from[line[0]]
			if !ok {
				h.pass(time.Duration(line[0]) * 50 * time.Millisecond)
				continue
			}
			line = bytes.ReplaceAll(line[1:], []byte{'$'}, []byte(sid))
			line = bytes.ReplaceAll(line, []byte{'%'}, []byte(h.cookies.of(h.now, mustAddr(carol).Addr())))
			if len(line) > wire.MaxDatagram {
				line = line[:wire.MaxDatagram+1]
			}
			proven = proven || bytes.Contains(line, []byte("cookie="))
			forged := who == carol && h.plain[mustAddr(carol)] == nil && !proven &&
				(bytes.HasPrefix(line, []byte("@")) || !bytes.Contains(bytes.ToLower(line), []byte("join")))
			if !bytes.HasPrefix(line, []byte("@")) {
				plain[mustAddr(who)] = true
			}
			for _, text := range h.put(who, string(line)) {
				if forged && len(text)+wire.HeaderSize > wire.ReplyBudget(len(line)) {
					t.Errorf("a stranger's %q is answered %q", line, text)
				}
			}
		}
		for _, s := range h.sent {
			if len(s.text) > wire.MaxDatagram || !utf8.ValidString(s.text) {
				t.Errorf("sent %q", s.text)
			}
			if s.text[0] == '@' && !plain[s.to] {
				if _, _, err := wire.ParseTags([]byte(s.text)); err != nil {
					t.Errorf("sent %q: %v", s.text, err)
				}
			}
		}
		h.pass(plainSilence)
		h.pass(keepDeparted)
		if n := len(h.room.Players()) + len(h.players) + len(h.plain) + len(h.sessions) + len(h.joins) + len(h.departed.entries); n != 0 {
			t.Errorf("%d things are left of players who are gone", n)
		}
		if n := max(len(h.goodbyes.entries), len(h.refused.entries), len(h.departed.entries)); n > departedInAll || len(h.players) > world.MaxPlayers {
			t.Error("a table is too large")
		}
	})
}
