package dnssd

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	lan  = link{prefixes: []netip.Prefix{netip.MustParsePrefix("10.66.0.1/24"), netip.MustParsePrefix("fd66::1/64"), netip.MustParsePrefix("fe80::1/64")}}
	mill = newIdentity("Old Mill", "foyer-1", 7666)
	here = lan.addrs(netip.IPv6Unspecified())
	ours = mill.records(here)
	name = dnsmessage.MustNewName
)

func init() { lan.Name = "lan0" }

func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a registry answers a one-shot question is found by who has asked it.
func TestAnswer(t *testing.T) {
	q, ok := parseQuery(pack(t, *question(77)), netip.MustParseAddrPort("10.66.0.2:4321"), ours)
	if !ok || !q.legacy() {
		t.Fatalf("the question is not understood: %v", q)
	}
	answer, err := unicast(ours, &q)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatal(err)
	}
	if !m.Response || !m.Authoritative || m.ID != 77 || len(m.Questions) != 1 || len(m.Answers) != 1 {
		t.Errorf("a resolver does not expect %v", &m)
	}
	for _, r := range append(m.Answers, m.Additionals...) {
		if r.Header.TTL > 10 || r.Header.Class != dnsmessage.ClassINET {
			t.Errorf("a resolver does not expect %v", r.Header)
		}
	}
	found := parseAnswer(answer, 77, lan.reaches)
	slices.SortFunc(found, Registry.compare)
	want := []Registry{{"Old Mill", netip.MustParseAddrPort("10.66.0.1:7666")}, {"Old Mill", netip.MustParseAddrPort("[fd66::1]:7666")}}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	// An answer to somebody else's question, or a guess.
	if found := parseAnswer(answer, 78, lan.reaches); found != nil {
		t.Errorf("found %v by another id", found)
	}
}

// Whatever is wrong with an answer, nothing is made of it.
func TestForgedAnswers(t *testing.T) {
	answer := func(change func(id *identity, addrs *[]netip.Addr), last func(m *dnsmessage.Message)) []byte {
		id, addrs := mill, []netip.Addr{netip.MustParseAddr("10.66.0.1")}
		change(&id, &addrs)
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Answers: id.records(addrs)}
		last(&m)
		return pack(t, m)
	}
	address := func(text string) []byte {
		return answer(func(_ *identity, addrs *[]netip.Addr) { *addrs = []netip.Addr{netip.MustParseAddr(text)} }, func(*dnsmessage.Message) {})
	}
	none := func(*identity, *[]netip.Addr) {}
	if len(parseAnswer(address("10.66.0.9"), 1, lan.reaches)) != 1 {
		t.Fatal("a sound answer is not taken")
	}
	for what, packet := range map[string][]byte{
		"loopback":        address("127.0.0.1"),
		"multicast":       address("224.0.0.251"),
		"unspecified":     address("0.0.0.0"),
		"broadcast":       address("255.255.255.255"),
		"elsewhere":       address("192.0.2.1"),
		"IPv6 elsewhere":  address("2001:db8::1"),
		"IPv6 link-local": address("fe80::7"),
		"mapped loopback": address("::ffff:127.0.0.1"),
		"port 0":          answer(func(id *identity, _ *[]netip.Addr) { id.port = 0 }, func(*dnsmessage.Message) {}),
		"a long name":     answer(func(id *identity, _ *[]netip.Addr) { id.world = strings.Repeat("x", 64) }, func(*dnsmessage.Message) {}),
		"no name":         answer(func(id *identity, _ *[]netip.Addr) { id.world = "" }, func(*dnsmessage.Message) {}),
		"another type":    answer(func(id *identity, _ *[]netip.Addr) { id.instance = "Old Mill._http._tcp.local." }, func(*dnsmessage.Message) {}),
		"a question":      answer(none, func(m *dnsmessage.Message) { m.Response = false }),
		"a failure":       answer(none, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }),
		"a goodbye": answer(none, func(m *dnsmessage.Message) {
			for i := range m.Answers {
				m.Answers[i].Header.TTL = 0
			}
		}),
		"behind too many others": answer(none, func(m *dnsmessage.Message) {
			m.Answers = append(slices.Repeat([]dnsmessage.Resource{m.Answers[0]}, maxRecords), m.Answers...)
		}),
	} {
		if found := parseAnswer(packet, 1, lan.reaches); len(found) > 0 {
			t.Errorf("%s: found %q", what, found)
		}
	}
}

// A flood of answers does not grow what is remembered.
func TestBounds(t *testing.T) {
	var b browser
	for i := range 1000 {
		b.add([]Registry{{fmt.Sprint("world ", i%100), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 66, 0, 1}), uint16(i+1))}})
	}
	if worlds := Worlds(b.found); len(b.found) != maxRegistries || len(worlds) != maxWorlds {
		t.Errorf("%d registries of %d worlds", len(b.found), len(worlds))
	}
}

// Which packets are answered, and which are none of a registry's business.
func TestQueries(t *testing.T) {
	ptr := dnsmessage.Question{Name: name(serviceName), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
	known := func(instance string, ttl uint32) dnsmessage.Resource {
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name(serviceName), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET, TTL: ttl},
			Body: &dnsmessage.PTRResource{PTR: name(instance)}}
	}
	ask := func(q ...dnsmessage.Question) dnsmessage.Message { return dnsmessage.Message{Questions: q} }
	with := func(m dnsmessage.Message, answers ...dnsmessage.Resource) dnsmessage.Message {
		m.Answers = answers
		return m
	}
	for _, c := range []struct {
		what    string
		message dnsmessage.Message
		want    bool
	}{
		{"PTR", ask(ptr), true},
		{"PTR in capitals", ask(dnsmessage.Question{Name: name("_FOYER._udp.LOCAL."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET | unicastBit}), true},
		{"the second question", ask(dnsmessage.Question{Name: name("a.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}, ptr), true},
		{"SRV", ask(dnsmessage.Question{Name: name(mill.instance), Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}), true},
		{"anything", ask(dnsmessage.Question{Name: name(mill.host), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassANY}), true},
		{"types", ask(dnsmessage.Question{Name: name(typesName), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}), true},
		{"another instance", ask(dnsmessage.Question{Name: name("Salt Works." + serviceName), Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}), false},
		{"another service", ask(dnsmessage.Question{Name: name("_http._tcp.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}), false},
		{"nothing", ask(), false},
		{"what is known", with(ask(ptr), known(mill.instance, ttl)), false},
		{"what is known no longer", with(ask(ptr), known(mill.instance, ttl/2-1)), true},
		{"knowing another", with(ask(ptr), known("Salt Works."+serviceName, ttl)), true},
		{"a response", dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{known(mill.instance, ttl)}}, false},
		{"a goodbye of ours", dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{known(mill.instance, 0)}}, true},
		{"a goodbye of another", dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{known("Salt Works."+serviceName, 0)}}, false},
		{"an error", dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeRefused}, Questions: []dnsmessage.Question{ptr}}, false},
	} {
		if _, ok := parseQuery(pack(t, c.message), netip.MustParseAddrPort("10.66.0.2:5353"), ours); ok != c.want {
			t.Errorf("%s: %t", c.what, ok)
		}
	}
	// A label with a dot, which the codec can neither read nor write, comes first.
	packet := pack(t, ask(dnsmessage.Question{Name: name("HP_4.local."), Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}, ptr))
	packet[15] = '.'
	if _, ok := parseQuery(packet, netip.MustParseAddrPort("10.66.0.2:5353"), ours); !ok {
		t.Error("not answered because of another question")
	}
}

// Nothing is multicast again within a second, whoever asks how often.
func TestQuiet(t *testing.T) {
	now := time.Now()
	l := announced{last: now}
	for i := range 1000 {
		l.want(now.Add(time.Duration(i) * time.Millisecond))
	}
	if !l.due.Equal(now.Add(quiet)) {
		t.Errorf("due after %v", l.due.Sub(now))
	}
	l = announced{}
	l.want(now.Add(answerDelay))
	l.want(now.Add(2 * answerDelay))
	if !l.due.Equal(now.Add(answerDelay)) {
		t.Errorf("due after %v", l.due.Sub(now))
	}
}

func TestReaches(t *testing.T) {
	for a, want := range map[string]bool{
		"10.66.0.9": true, "::ffff:10.66.0.9": true, "fd66::9": true, "fe80::9%lan0": true,
		"fe80::9%lan1": false, "10.66.1.9": false, "192.0.2.1": false, "2001:db8::1": false,
	} {
		if got := lan.reaches(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %t", a, got)
		}
	}
}

func TestAddrs(t *testing.T) {
	for listen, want := range map[string]string{
		"::": "[10.66.0.1 fd66::1]", "0.0.0.0": "[10.66.0.1]", "fd66::1": "[fd66::1]", "10.66.0.1": "[10.66.0.1]", "10.66.0.2": "[]",
	} {
		if got := fmt.Sprint(lan.addrs(netip.MustParseAddr(listen))); got != want {
			t.Errorf("listening on %s, addresses %s, want %s", listen, got, want)
		}
	}
}

func TestCheckWorld(t *testing.T) {
	for s, want := range map[string]bool{
		"Old Mill": true, "Größe": true, strings.Repeat("x", 63): true,
		"": false, strings.Repeat("x", 64): false, "a.b": false, "a\nb": false, "a\x1b[2J": false, " a": false, "\xff": false, "a\u202eb": false,
	} {
		if got := CheckWorld(s) == nil; got != want {
			t.Errorf("%q: %t", s, got)
		}
	}
}

func FuzzPackets(f *testing.F) {
	answer, _ := unicast(ours, &query{from: netip.MustParseAddrPort("10.66.0.2:4321"), id: 1, question: question(1).Questions[0]})
	f.Add(answer)
	f.Add(pack(f, *question(1)))
	goodbye, _ := multicast(ours, 0)
	f.Add(goodbye)
	f.Add([]byte("\x00\x01\x840\x00\x01000000\x000000\v000000000\xc00\xc0!\x00!\x00\x01000000000000\x00")) // not UTF-8
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, r := range parseAnswer(packet, 1, lan.reaches) {
			if len(r.World) > maxWorld || r.World == "" || r.Address.Port() == 0 || !lan.reaches(r.Address.Addr()) {
				t.Errorf("found %q", r)
			}
		}
		if q, ok := parseQuery(packet, netip.MustParseAddrPort("10.66.0.2:5353"), ours); ok && !q.rescue {
			if _, err := unicast(ours, &q); err != nil {
				t.Error(err)
			}
		}
	})
}
