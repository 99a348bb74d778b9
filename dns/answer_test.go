package dns

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
)

const negative = " | authority: rooms.example. 2 SOA rooms.example. hostmaster.rooms.example. 2"

func TestRecords(t *testing.T) {
	exits, _ := foyer.NewExits(map[foyer.Direction]foyer.Name{foyer.North: "The Old Library", foyer.Down: "cellar"})
	run(t, Options{}, func(b *bench) {
		b.register("", "room://192.0.2.7:4001", "study")
		b.register("", "room://[2001:db8::7]:4002", "cellar")
		b.register("exits="+string(exits.Encode()), "room://rooms.host.test:4003", "Living Room")
		since := time.Now().UTC().Format(time.RFC3339) // the bubble's clock has not moved a second
		for _, c := range []struct {
			name string
			kind dnsmessage.Type
			want string
		}{
			{"study.rooms.example", dnsmessage.TypeA, "Success aa | study.rooms.example. 5 A 192.0.2.7"},
			{"study.rooms.example", dnsmessage.TypeAAAA, "Success aa" + negative},
			{"study.rooms.example", dnsmessage.TypeSRV, "Success aa | study.rooms.example. 5 SRV 0 0 4001 study.rooms.example. | additional: study.rooms.example. 5 A 192.0.2.7"},
			{"_room._udp.study.rooms.example", dnsmessage.TypeSRV, "Success aa | _room._udp.study.rooms.example. 5 SRV 0 0 4001 study.rooms.example. | additional: study.rooms.example. 5 A 192.0.2.7"},
			{"study.rooms.example", dnsmessage.TypeTXT, `Success aa | study.rooms.example. 5 TXT ["room://192.0.2.7:4001" "since=` + since + `"]`},
			{"study.rooms.example", dnsmessage.TypeMX, "Success aa" + negative},
			{"study.rooms.example", dnsmessage.TypeNS, "Success aa" + negative},
			{"study.rooms.example", dnsmessage.TypeSOA, "Success aa" + negative},
			{"_room._udp.study.rooms.example", dnsmessage.TypeA, "Success aa" + negative},
			{"_room._udp.study.rooms.example", dnsmessage.TypeTXT, "Success aa" + negative},

			{"cellar.rooms.example", dnsmessage.TypeA, "Success aa" + negative},
			{"cellar.rooms.example", dnsmessage.TypeAAAA, "Success aa | cellar.rooms.example. 5 AAAA 2001:db8::7"},
			{"cellar.rooms.example", dnsmessage.TypeSRV, "Success aa | cellar.rooms.example. 5 SRV 0 0 4002 cellar.rooms.example. | additional: cellar.rooms.example. 5 AAAA 2001:db8::7"},

			// The host has a name of its own, for others to resolve.
			{"_living_-_room.rooms.example", dnsmessage.TypeA, "Success aa" + negative},
			{"_living_-_room.rooms.example", dnsmessage.TypeAAAA, "Success aa" + negative},
			{"_living_-_room.rooms.example", dnsmessage.TypeSRV, "Success aa | _living_-_room.rooms.example. 5 SRV 0 0 4003 rooms.host.test."},
			{"_living_-_room.rooms.example", dnsmessage.TypeTXT, `Success aa | _living_-_room.rooms.example. 5 TXT ["room://rooms.host.test:4003" "since=` + since + `" "north=The Old Library" "down=cellar"]`},

			// Names that differ in the case of ASCII letters are the same, and in nothing
			// else; the question comes back as it was asked.
			{"STudy.Rooms.EXAMPLE", dnsmessage.TypeA, "Success aa | STudy.Rooms.EXAMPLE. 5 A 192.0.2.7"},
			{"_ROOM._udp.stuDY.rooms.Example", dnsmessage.TypeSRV, "Success aa | _ROOM._udp.stuDY.rooms.Example. 5 SRV 0 0 4001 stuDY.rooms.Example. | additional: stuDY.rooms.Example. 5 A 192.0.2.7"},
			{"_LIVING_-_rOOM.rooms.example", dnsmessage.TypeAAAA, "Success aa" + negative},
			{"_study.rooms.example", dnsmessage.TypeA, "NameError aa" + negative}, // it would be Study
			{"living_-_room.rooms.example", dnsmessage.TypeA, "NameError aa" + negative},

			{"attic.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"_room._udp.attic.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"attic.rooms.example", dnsmessage.TypeALL, "NameError aa" + negative},
			{"_udp.attic.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"_udp.study.rooms.example", dnsmessage.TypeSRV, "Success aa" + negative}, // empty non-terminals
			{"_udp.study.rooms.example", dnsmessage.TypeALL, "Success aa" + negative},
			{"end_.rooms.example", dnsmessage.TypeA, "Success aa" + negative},
			{"_tcp.study.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"_room._tcp.study.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"_http._udp.study.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"a._room._udp.study.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},
			{"www.study.rooms.example", dnsmessage.TypeA, "NameError aa" + negative},
			{"_room._udp.rooms.example", dnsmessage.TypeSRV, "NameError aa" + negative},

			{"rooms.example", dnsmessage.TypeSOA, "Success aa | rooms.example. 300 SOA rooms.example. hostmaster.rooms.example. 2"},
			{"rooms.example", dnsmessage.TypeNS, "Success aa | rooms.example. 300 NS rooms.example. | additional: rooms.example. 300 A 192.0.2.1"},
			{"rooms.example", dnsmessage.TypeA, "Success aa | rooms.example. 300 A 192.0.2.1"},
			{"rooms.example", dnsmessage.TypeAAAA, "Success aa" + negative},
			{"rooms.example", dnsmessage.TypeTXT, "Success aa" + negative},

			// RFC 8482.
			{"study.rooms.example", dnsmessage.TypeALL, `Success aa | study.rooms.example. 5 13 "\aRFC8482\x00"`},
			{"rooms.example", dnsmessage.TypeALL, `Success aa | rooms.example. 300 13 "\aRFC8482\x00"`},

			{"example", dnsmessage.TypeA, "Refused"},
			{"other.example", dnsmessage.TypeA, "Refused"},
			{"study.notrooms.example", dnsmessage.TypeA, "Refused"},
			{"rooms.example.com", dnsmessage.TypeA, "Refused"},
			{"rooms.example", dnsmessage.TypeAXFR, "Refused"},
			{"study.rooms.example", typeIXFR, "Refused"},
		} {
			m := b.ask(withEDNS(question(c.name, c.kind), 1232, 0, false))
			if got := show(m); got != c.want {
				t.Errorf("%s %s:\n got %s\nwant %s", c.name, c.kind, got, c.want)
			}
			if len(m.Questions) != 1 || m.Questions[0].Name.String() != c.name+"." || m.Questions[0].Type != c.kind || !m.RecursionDesired {
				t.Errorf("%s %s: the question comes back as %v", c.name, c.kind, m.Questions)
			}
		}
	})
}

// Servers of other names than the domain's own.
func TestNameServers(t *testing.T) {
	run(t, Options{NameServers: []string{"ns1.example", "NS2.example."}}, func(b *bench) {
		for _, c := range []struct {
			kind dnsmessage.Type
			want string
		}{
			{dnsmessage.TypeNS, "Success aa | rooms.example. 300 NS ns1.example. | rooms.example. 300 NS ns2.example."},
			{dnsmessage.TypeSOA, "Success aa | rooms.example. 300 SOA ns1.example. hostmaster.rooms.example. 2"},
			{dnsmessage.TypeA, "Success aa | authority: rooms.example. 2 SOA ns1.example. hostmaster.rooms.example. 2"},
		} {
			if got := show(b.ask(withEDNS(question("rooms.example", c.kind), 1232, 0, false))); got != c.want {
				t.Errorf("%s: %s, not %s", c.kind, got, c.want)
			}
		}
	})
	for _, bad := range []Options{
		{},
		{Domain: "."},
		{Domain: "rooms..example"},
		{Domain: "räume.example"},
		{Domain: "rooms example"},
		{Domain: strings.Repeat("a", 64) + ".example"},
		{Domain: strings.Repeat("abcdefghi.", 18) + "example"},
		{Domain: "rooms.example", NameServers: []string{"ns.rooms.example"}},
		{Domain: "rooms.example", NameServers: []string{"rooms.example"}},
		{Domain: "rooms.example", NameServers: []string{""}},
	} {
		if _, err := New(nil, bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

// An answer is not cached for longer than the lease runs.
func TestTTL(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		ttl := func() uint32 {
			t.Helper()
			m := b.ask(question("study.rooms.example", dnsmessage.TypeSRV))
			if len(m.Answers) != 1 || len(m.Additionals) != 1 || m.Answers[0].Header.TTL != m.Additionals[0].Header.TTL {
				t.Fatalf("the answer is %s", show(m))
			}
			return m.Answers[0].Header.TTL
		}
		b.register("ttl=20", "room://192.0.2.7:4001", "study")
		if got := ttl(); got != 5 {
			t.Errorf("with 20 s left it may be cached for %d", got)
		}
		time.Sleep(17 * time.Second)
		if got := ttl(); got > 3 || got < 2 {
			t.Errorf("with 3 s left it may be cached for %d", got)
		}
		if got := string(b.exchange(registryAddr, []byte("@ttl=20 RENEW room://192.0.2.7:4001 study"))); !strings.Contains(" "+got, " OK") {
			t.Fatal(got)
		}
		if got := ttl(); got != 5 {
			t.Errorf("renewed, it may be cached for %d", got)
		}
		time.Sleep(23 * time.Second)
		if got, want := show(b.ask(question("study.rooms.example", dnsmessage.TypeSRV))), "NameError aa"+negative; got != want {
			t.Errorf("when the lease has ended the answer is %s", got)
		}
	})
}

func TestWrongQueries(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		b.register("", "room://192.0.2.7:4001", "study")
		well := question("study.rooms.example", dnsmessage.TypeA)
		changed := func(at int, to ...byte) []byte {
			q := append([]byte(nil), well...)
			copy(q[at:], to)
			return q
		}
		edns := withEDNS(well, 4096, 0, false)
		long := rawQuestion(append([]byte(strings.Repeat("\x3f"+strings.Repeat("a", 63), 4)), 0), dnsmessage.TypeA, dnsmessage.ClassINET)
		for _, c := range []struct {
			what, want string
			query      []byte
		}{
			{"a well-formed one", "Success aa | study.rooms.example. 5 A 192.0.2.7", well},
			{"all bits but QR and the opcode", "Success aa | study.rooms.example. 5 A 192.0.2.7", changed(2, 0x07, 0xff)},
			{"a header alone", "FormatError", changed(4, 0, 0)[:12]},
			{"a header that promises a question", "FormatError", well[:12]},
			{"half a name", "FormatError", well[:20]},
			{"a name without a class", "FormatError", well[:len(well)-2]},
			{"two questions", "FormatError", append(changed(4, 0, 2), well[12:]...)},
			{"an answer", "FormatError", append(changed(6, 0, 1), well[12:]...)},
			{"an authority", "FormatError", changed(8, 0, 1)},
			{"an additional record that is not there", "FormatError", changed(10, 0, 1)},
			{"something behind the end", "FormatError", append(changed(0), 0)},
			{"a pointer", "FormatError", rawQuestion([]byte("\xc0\x00"), dnsmessage.TypeA, dnsmessage.ClassINET)},
			{"a pointer to itself", "FormatError", rawQuestion([]byte("\xc0\x0c"), dnsmessage.TypeA, dnsmessage.ClassINET)},
			{"a label of an unknown kind", "FormatError", rawQuestion([]byte("\x41"+strings.Repeat("a", 65)+"\x00"), dnsmessage.TypeA, dnsmessage.ClassINET)},
			{"a name of 257 bytes", "FormatError", long},
			{"the root", "Refused", rawQuestion([]byte{0}, dnsmessage.TypeNS, dnsmessage.ClassINET)},
			{"two OPT records", "FormatError", withEDNS(edns, 4096, 0, false)},
			{"an OPT record with a name", "FormatError", append(changed(10, 0, 1), "\x01a\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"...)},
			{"an OPT record that is cut off", "FormatError", edns[:len(edns)-1]},
			{"an option that is cut off", "FormatError", withEDNS(well, 4096, 0, false, 0, 10, 0, 8, 1)},
			{"an option that is whole", "Success aa | study.rooms.example. 5 A 192.0.2.7", withEDNS(well, 4096, 0, false, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)},
			{"another additional record", "Success aa | study.rooms.example. 5 A 192.0.2.7", append(changed(10, 0, 1), "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04"...)},
			{"class CHAOS", "Refused", rawQuestion(wireName("version.bind"), dnsmessage.TypeTXT, dnsmessage.ClassCHAOS)},
			{"class CHAOS within the domain", "Refused", rawQuestion(wireName("study.rooms.example"), dnsmessage.TypeA, dnsmessage.ClassCHAOS)},
			{"class ANY", "Refused", rawQuestion(wireName("study.rooms.example"), dnsmessage.TypeA, dnsmessage.ClassANY)},
			{"an inverse query", "NotImplemented", changed(2, 1<<3)},
			{"NOTIFY", "NotImplemented", changed(2, 4<<3)},
			{"UPDATE with rubbish", "NotImplemented", append(changed(2, 5<<3), "rubbish"...)},
			{"EDNS of version 1", "Success", withEDNS(well, 4096, 1, false)}, // and 16 in its OPT record, see TestEDNS
		} {
			if got := show(b.ask(c.query)); got != c.want {
				t.Errorf("%s: %s, not %s", c.what, got, c.want)
			}
		}

		for what, query := range map[string][]byte{
			"a response":       changed(2, 0x80),
			"eleven bytes":     well[:11],
			"nothing":          {},
			"a LOOKUP":         []byte("LOOKUP bb"),
			"a wrong response": append(changed(2, 0x85), 0),
		} {
			if reply := b.exchange(serverAddr, query); reply != nil {
				t.Errorf("%s gets a reply: %x", what, reply)
			}
		}
	})
}

// Nobody can receive at port 0.
func TestPortZero(t *testing.T) {
	s := newServer(t)
	b := newBatch()
	for port, want := range map[uint16]int{0: 0, 1: 1} {
		fill(b, 0, question("study.rooms.example", dnsmessage.TypeA), port)
		if got := len(s.answerBatch(b, 1, serverAddr.Addr())); got != want {
			t.Errorf("a query from port %d gets %d replies, not %d", port, got, want)
		}
	}
}

func TestFailingStore(t *testing.T) {
	s, err := New(failing{}, Options{Domain: "rooms.example"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch()
	query := question("study.rooms.example", dnsmessage.TypeA)
	fill(b, 0, query, 1)
	out := s.answerBatch(b, 1, serverAddr.Addr())
	if got := show(parseReply(t, query, out[0].Data)); got != "ServerFailure" {
		t.Errorf("the answer is %s", got)
	}
}

func TestQueries(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		b.register("", "room://192.0.2.7:4001", "study")
		b.ask(question("study.rooms.example", dnsmessage.TypeA))
		b.ask(question("study.rooms.example", dnsmessage.TypeA))
		b.ask(question("attic.rooms.example", dnsmessage.TypeSRV))
		b.ask(question("study.rooms.example", dnsmessage.Type(65280)))
		b.ask(withEDNS(question("study.rooms.example", dnsmessage.TypeTXT), 512, 3, false))
		b.ask(question("study.rooms.example", dnsmessage.TypeA)[:14])
		got := b.server.Queries()
		for _, want := range []struct {
			kind, code string
			n          uint64
		}{{"A", "NOERROR", 2}, {"SRV", "NXDOMAIN", 1}, {"other", "NOERROR", 1}, {"TXT", "BADVERS", 1}, {"none", "FORMERR", 1}} {
			if got[want.kind][want.code] != want.n {
				t.Errorf("%d queries of type %s were answered %s, not %d", got[want.kind][want.code], want.kind, want.code, want.n)
			}
			got[want.kind][want.code] = 0
		}
		for kind, byCode := range got {
			for code, n := range byCode {
				if n != 0 {
					t.Errorf("%d queries of type %s were answered %s", n, kind, code)
				}
			}
		}
	})
}
