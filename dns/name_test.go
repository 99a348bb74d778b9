package dns

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"foyer"
	"foyer/internal/testenv"
)

func TestNames(t *testing.T) {
	z := zone{domain: wireName("rooms.example")}
	for _, c := range []struct{ name, room string }{
		{"study", "study"},
		{"room-17", "room-17"},
		{"STUDY", "study"},
		{"_study", "Study"},
		{"_s_t_u_d_y", "STUDY"},
		{"_living_-_room", "Living Room"},
		{`_living\032_room`, "Living Room"},
		{"_living_032_room", "Living Room"},
		{"_alice_039s_-room", "Alice's room"},
		{"_alice's_-room", "Alice's room"},
		{"snake__case", "snake_case"},
		{"end__", "end_"},
		{"v1_0462", "v1.2"},
		{"k_195_188che", "küche"},
		{"küche", "küche"},
		{"ku\u0308che", "küche"}, // canonical, as the registry makes it
		{"xn--kche-0ra", "küche"},
		{"XN--kche-0RA", "küche"},
		{"_küche", "Küche"},
		{"KüCHE", "küche"},
		{"xn-_045kche-0ra", "xn--kche-0ra"},
		{"_udp", "Udp"},
		{"_room", "Room"},
		{"2", "2"},
		{"-", "-"},
		{"begin.end_", "beginend"},
		{"_begin.middle_._-_end_", "Beginmiddle End"},
		{"begin.__end_", "begin_end"},
		{"begin._", "begin"},
		{`a\000`, ""}, // no name may have a control character
		{"a_000", ""},
		{"_-a", ""},    // nor begin with a space
		{"a_-", ""},    // nor end with one
		{"a_-_-b", ""}, // nor have two in a row
		{"_256", ""},
		{"_1", ""},
		{"_12", ""},
		{"_1a2", ""},
		{"_.study", ""},
		{"_'", ""},
		{"a_200", ""}, // is not UTF-8
		{"xn--999999b", ""},
	} {
		var l location
		z.locate(append(wireName(c.name)[:len(wireName(c.name))-1], z.domain...), &l)
		want := atRoom
		if c.room == "" {
			want = nowhere
		}
		if l.place != want || string(l.room) != c.room {
			t.Errorf("%s is %q at place %d, not %q at %d", c.name, l.room, l.place, c.room, want)
		}
	}
}

// encode returns a DNS name for a room as docs/dns.md defines it, in wire format
// without the domain.
func encode(room string) []byte {
	var labels [][]byte
	label := []byte{}
	for _, c := range []byte(room) {
		var piece string
		switch {
		case c == '-' && string(label) == "xn-":
			piece = "_045"
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
			piece = string(c)
		case 'A' <= c && c <= 'Z':
			piece = "_" + string(c+'a'-'A')
		case c == ' ':
			piece = "_-"
		case c == '_':
			piece = "__"
		default:
			piece = fmt.Sprintf("_%03d", c)
		}
		if len(label)+len(piece) > maxLabel-1 {
			labels = append(labels, label)
			label = []byte{}
		}
		label = append(label, piece...)
	}
	labels = append(labels, label)
	var wire []byte
	for i, l := range labels {
		if i > 0 {
			l = append(l, '_')
		}
		wire = append(append(wire, byte(len(l))), l...)
	}
	return wire
}

// Every name that fits has a DNS name that is found, however a resolver mixes its case,
// and no two have the same.
func TestRandomNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	z := zone{domain: wireName("rooms.example")}
	alphabet := []string{"a", "b", "z", "A", "Z", " ", "_", "-", ".", "0", "9", "'", "ü", "ß", "語", "🏠", "\\", "xn--", "_udp", "_room", "~"}
	owners := map[string]string{}
	fit, tooLong := 0, 0
	for range 20_000 {
		var text strings.Builder
		for range 1 + rng.IntN(1+rng.IntN(80)) {
			text.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		room, err := foyer.ParseName(text.String())
		if err != nil {
			continue
		}
		wire := append(encode(string(room)), z.domain...)
		if len(wire) > maxName {
			tooLong++
			continue
		}
		fit++
		key := strings.ToLower(string(wire))
		if other, taken := owners[key]; taken && other != string(room) {
			t.Fatalf("%q and %q have the same name", room, other)
		}
		owners[key] = string(room)
		for i, c := range wire {
			if 'a' <= c && c <= 'z' && rng.IntN(2) == 0 {
				wire[i] = c - 'a' + 'A'
			}
		}
		service := append([]byte("\x05_rOOm\x04_Udp"), wire...)
		var l location
		if z.locate(wire, &l); l.place != atRoom || string(l.room) != string(room) {
			t.Fatalf("%q is %q at place %d by the name %q", room, l.room, l.place, wire)
		}
		if len(service) <= maxName {
			if z.locate(service, &l); l.place != atSRV || string(l.room) != string(room) {
				t.Fatalf("%q is %q at place %d by the name %q", room, l.room, l.place, service)
			}
		}
	}
	if fit < 5000 || tooLong < 50 {
		t.Errorf("only %d names that fit and %d that do not were tried", fit, tooLong)
	}
}
