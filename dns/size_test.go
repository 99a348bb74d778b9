package dns

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/storetest"
)

// leaseless is a registry of a store alone.
type leaseless struct{ storage.Store }

func (leaseless) LeaseLeft(*foyer.Registration) (time.Duration, bool) { return 0, false }

// failing is a registry whose store cannot be read.
type failing struct{}

func (failing) FindAll(queries []storage.Query) {
	for i := range queries {
		queries[i].Err = foyer.ErrUnavailable
	}
}

func (failing) LeaseLeft(*foyer.Registration) (time.Duration, bool) { return 0, false }

// newServer returns a Server for rooms of all kinds.
func newServer(t testing.TB) *Server {
	t.Helper()
	model := storetest.NewModel(storetest.Sabotage{})
	now := storage.Instant{Wall: time.Date(2026, 1, 31, 20, 15, 4, 0, time.UTC)}
	exits, _ := foyer.NewExits(map[foyer.Direction]foyer.Name{
		foyer.North: foyer.Name(strings.Repeat("n", 255)), foyer.South: foyer.Name(strings.Repeat("s", 180)),
	})
	err := model.Update(now, func(tx storage.Tx) error {
		for _, r := range []foyer.Registration{
			{Name: "study", Address: "room://192.0.2.7:4001"},
			{Name: "cellar", Address: "room://[2001:db8:1111:2222:3333:4444:5555:6666]:40002"},
			{Name: "host", Address: foyer.Address("room://" + strings.Repeat("h", 51) + ":40003")},
			{Name: "exits", Address: "room://192.0.2.7:4004", Exits: exits},
			{Name: foyer.Name(strings.Repeat("long", 40)), Address: "room://192.0.2.7:4005"},
		} {
			r.RegisteredAt = now.Wall
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: r}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(leaseless{model}, Options{Domain: "rooms.example"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill makes a query the datagram i of a batch, from the given port.
func fill(b *batch, i int, query []byte, port uint16) {
	b.in[i].Data = append(b.in[i].Data[:0], query...)
	b.in[i].Peer = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), port)
}

func TestEDNS(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		b.register("", "room://192.0.2.7:4001", "study")
		well := question("study.rooms.example", dnsmessage.TypeA)
		if m := b.ask(well); len(m.Additionals) != 0 {
			t.Errorf("a query without EDNS gets %v", m.Additionals)
		}
		for _, c := range []struct {
			version byte
			do      bool
			code    dnsmessage.RCode
		}{{0, false, 0}, {0, true, 0}, {1, false, rcodeBadVersion}, {255, true, rcodeBadVersion}} {
			m := b.ask(withEDNS(well, 4096, c.version, c.do))
			if len(m.Additionals) != 1 || m.Additionals[0].Header.Type != dnsmessage.TypeOPT {
				t.Fatalf("version %d: %v", c.version, m.Additionals)
			}
			opt := &m.Additionals[0].Header
			if opt.ExtendedRCode(m.RCode) != c.code || opt.DNSSECAllowed() != c.do || opt.TTL>>16&0xff != 0 || opt.Class != maxSize {
				t.Errorf("version %d: the code is %d and OPT %s", c.version, opt.ExtendedRCode(m.RCode), opt.GoString())
			}
			if answered := len(m.Answers) == 1; answered != (c.code == 0) {
				t.Errorf("version %d: %s", c.version, show(m))
			}
		}
	})
}

// What does not fit is cut off at a record, says so, and comes whole over TCP.
func TestTruncation(t *testing.T) {
	s := newServer(t)
	b := newBatch()
	reply := func(query []byte) (*dnsmessage.Message, int) {
		t.Helper()
		fill(b, 0, query, 1)
		out := s.answerBatch(b, 1, serverAddr.Addr())
		return parseReply(t, query, out[0].Data), len(out[0].Data)
	}
	padded := func(q []byte, size uint16) []byte { // with room for any answer, as far as bytes count
		return withEDNS(q, size, 0, false, append([]byte{0, 12, 2, 0}, make([]byte, 512)...)...)
	}
	exits := question("exits.rooms.example", dnsmessage.TypeTXT)

	m, n := reply(exits)
	if show(m) != "Success aa tc" || n != len(exits) {
		t.Errorf("a long answer to a short query: %s, %d bytes", show(m), n)
	}
	m, n = reply(withEDNS(exits, 4096, 0, false))
	if show(m) != "Success aa tc" || n != len(exits)+optSize || len(m.Additionals) != 1 {
		t.Errorf("with EDNS: %s, %d bytes", show(m), n)
	}
	m, n = reply(padded(exits, 4096))
	if !strings.Contains(show(m), "south=sss") || strings.Contains(show(m), "north") || m.Truncated {
		t.Errorf("to a long query: %s, %d bytes", show(m), n)
	}

	// The sizes that a client may ask for: less than 512 is 512, and more than 1232 is
	// not sent.
	for _, c := range []struct{ size, length, want int }{
		{0, 1000, 512}, {100, 1000, 512}, {512, 1000, 512}, {700, 1000, 700}, {1232, 1000, 1232}, {4096, 1000, 1232}, {65535, 1000, 1232},
		{0, 30, 90}, {4096, 30, 90}, {4096, 12, 36},
	} {
		q := query{size: uint16(c.size)}
		if got := q.limitUDP(c.length); got != c.want {
			t.Errorf("the limit of a query of %d bytes with size %d is %d, not %d", c.length, c.size, got, c.want)
		}
	}

	// The address beside an SRV record is left out where it does not fit.
	short := question("_room._udp.cellar.rooms.example", dnsmessage.TypeSRV)
	full, _ := reply(short)
	if len(full.Answers) != 1 || len(full.Additionals) != 1 {
		t.Fatalf("the answer is %s", show(full))
	}
	var t0 task
	alone := 0 // answers without the address
	for t0.limit = len(short); t0.limit < 200; t0.limit++ {
		var known [1]storage.Query
		if !t0.parse(short) {
			t.Fatal("no query")
		}
		s.answerAll([]*task{&t0}, known[:])
		m := parseReply(t, short, t0.out)
		if len(t0.out) > t0.limit || m.Truncated != (len(m.Answers) == 0) || len(m.Additionals) > len(m.Answers) {
			t.Errorf("in %d bytes: %s, %d", t0.limit, show(m), len(t0.out))
		}
		if len(m.Answers) > len(m.Additionals) {
			alone++
		}
	}
	if alone != 28 { // an AAAA record has 28 bytes
		t.Errorf("in %d sizes the address alone is left out", alone)
	}
}

// randomQuery makes a query of any kind, most of them well-formed.
func randomQuery(rng *rand.Rand) []byte {
	hosts := []string{"study", "cellar", "host", "exits", "attic", "_udp.study", "_room._udp.cellar", "_room._udp.host", "_room._udp.study", "a_", "x", ""}
	name := hosts[rng.IntN(len(hosts))]
	if rng.IntN(8) == 0 {
		name = strings.Repeat("long", 15) + "." + strings.Repeat("long", 15) + "_." + strings.Repeat("long", 10) + "_"
	}
	if name += ".rooms.example"; name[0] == '.' {
		name = name[1:]
	}
	kinds := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeSOA, dnsmessage.TypeNS, dnsmessage.TypeALL, dnsmessage.Type(rng.Uint32())}
	q := question(name, kinds[rng.IntN(len(kinds))])
	if rng.IntN(2) == 0 {
		q = withEDNS(q, uint16(rng.Uint32()), byte(rng.IntN(2)*rng.IntN(2)), rng.IntN(2) == 0)
	}
	for range rng.IntN(3) * rng.IntN(2) {
		switch at := rng.IntN(len(q)); rng.IntN(3) {
		case 0:
			q[at] = byte(rng.Uint32())
		case 1:
			q = q[:max(1, at)]
		default:
			q = append(q, make([]byte, rng.IntN(30))...)
		}
	}
	return q
}

// checkReplies answers queries as one batch and checks what holds for all.
func checkReplies(t testing.TB, s *Server, b *batch, queries ...[]byte) (largest float64) {
	t.Helper()
	for i, query := range queries {
		fill(b, i, query, uint16(1+i))
	}
	for _, o := range s.answerBatch(b, len(queries), serverAddr.Addr()) {
		sent := queries[o.Peer.Port()-1]
		if len(sent) > queryBuffer {
			sent = sent[:queryBuffer]
		}
		largest = max(largest, float64(len(o.Data))/float64(len(sent)))
		if len(o.Data) > amplification*len(sent) || len(o.Data) > maxSize {
			t.Fatalf("a query of %d bytes gets %d: %x", len(sent), len(o.Data), sent)
		}
		if len(sent) < headerSize || sent[2]&0x80 != 0 {
			t.Fatalf("what is no query gets a reply: %x", sent)
		}
		if !bytes.Equal(o.Data[:2], sent[:2]) {
			t.Fatalf("the reply has another id: %x", o.Data)
		}
		var p dnsmessage.Parser
		if _, err := p.Start(o.Data); err != nil {
			t.Fatal(err)
		}
		if o.Data[5] == 1 { // its question is the query's
			var asked query
			if !asked.parse(sent) || !bytes.HasPrefix(o.Data[headerSize:], asked.question) || len(asked.question) == 0 {
				t.Fatalf("the question %x comes back as %x", sent, o.Data)
			}
			if bytes.Contains(asked.name[:len(asked.name)-1], []byte{'.'}) {
				continue // dnsmessage does not read that
			}
		}
		if err := p.SkipAllQuestions(); err != nil {
			t.Fatalf("%v: %x", err, o.Data)
		}
		for _, skip := range []func() error{p.SkipAllAnswers, p.SkipAllAuthorities, p.SkipAllAdditionals} {
			if err := skip(); err != nil {
				t.Fatalf("%v: %x", err, o.Data)
			}
		}
	}
	return largest
}

func TestAmplification(t *testing.T) {
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	s, b := newServer(t), newBatch()
	largest := 0.0
	for range 1000 {
		queries := make([][]byte, 1+rng.IntN(64))
		for i := range queries {
			queries[i] = randomQuery(rng)
		}
		largest = max(largest, checkReplies(t, s, b, queries...))
	}
	if largest < 2 {
		t.Errorf("the largest reply is only %.1f times its query", largest)
	}
}

func FuzzQuery(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 0))
	for range 50 {
		f.Add(randomQuery(rng))
	}
	s, b := newServer(f), newBatch()
	f.Fuzz(func(t *testing.T, data []byte) {
		checkReplies(t, s, b, data[:min(len(data), queryBuffer)])
	})
}

func FuzzName(f *testing.F) {
	f.Add([]byte("\x05study\x05rooms\x07example\x00"))
	f.Add([]byte("\x05_room\x04_udp\x03a_b\x02c_\x05rooms\x07example\x00"))
	f.Add([]byte("\x0cxn--kche-0ra\x05rooms\x07example\x00"))
	z := zone{domain: wireName("rooms.example")}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := nameLength(data)
		if n == 0 {
			return
		}
		var l location
		if z.locate(data[:n], &l); l.room == nil {
			return
		}
		if again, err := foyer.ParseName(string(l.room)); err != nil || string(again) != string(l.room) {
			t.Fatalf("%q is not canonical: %v", l.room, err)
		}
	})
}

// Whoever asks in great numbers makes no garbage.
func TestAllocations(t *testing.T) {
	s, b := newServer(t), newBatch()
	for _, name := range []string{"study", "cellar", "_room._udp.study", "host", "attic", "_some_-_one", "exits", ""} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeNS} {
			query := withEDNS(question(strings.TrimPrefix(name+".rooms.example", "."), kind), 1232, 0, false)
			allocs := testing.AllocsPerRun(100, func() {
				for i := range 4 {
					fill(b, i, query, 1)
				}
				s.answerBatch(b, 4, serverAddr.Addr())
			})
			if allocs != 0 {
				t.Errorf("%s %s allocates %.0f times", name, kind, allocs)
			}
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	s, batch := newServer(b), newBatch()
	for i, name := range []string{"study", "cellar", "attic", "_room._udp.study"} {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			query := question(name+".rooms.example", dnsmessage.TypeSRV)
			for b.Loop() {
				fill(batch, i, query, 1)
				fill(batch, 0, query, 1)
				s.answerBatch(batch, 1, serverAddr.Addr())
			}
		})
	}
}
