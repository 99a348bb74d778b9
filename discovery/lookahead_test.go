package discovery

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"foyer/internal/udp"
	"foyer/storage/storetest"
	"foyer/wire"
)

// TestLinesAreAnsweredInOrder compares the answers to the lines of one datagram
// with the answers to the same lines sent one by one.
func TestLinesAreAnsweredInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	possible := []string{
		"LOOKUP the great hall of mirrors", "LOOKUP the great hall of mirrors", "LOOKUP the great hall of mirrors",
		"LOOKUP the attic, up the stairs", "@id=018f4e7a-1b2c-7d3e-8f40-112233445566 LOOKUP the attic, up the stairs", "LOOKUP \xff, which is no name at all",
		"@ttl=30 RENEW room://192.0.2.9:40001 the great hall of mirrors", "@ttl=60 RENEW room://192.0.2.9:40002 the great hall of mirrors",
		"@ttl=30 REGISTER room://192.0.2.9:40001 the great hall of mirrors", "@ttl=60 REGISTER room://192.0.2.9:40002 the great hall of mirrors",
		"REGISTER room://192.0.2.9:40001 the attic, up the stairs", "DEREGISTER the great hall of mirrors", "DEREGISTER the attic, up the stairs",
		"PING, which nobody understands", "OK room://192.0.2.9:40001", "",
	}
	for range 300 {
		s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		apart, apartWriter := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		var lines, want []string
		kinds := 1 + r.IntN(len(possible)) // few of them have long runs of look-ups
		for n := 1 + r.IntN(2*lookaheadLength); len(lines) < n && len(strings.Join(lines, "\n")) < 1000; {
			line := possible[r.IntN(kinds)]
			lines = append(lines, line)
			want = append(want, answers(serveDatagram(apart, apartWriter, []byte(line)))...)
		}
		request := strings.Join(lines, "\n")
		if got := answers(serveDatagram(s, w, []byte(request))); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%s\n got %q\nwant %q", request, got, want)
		}
	}
}

// answers returns the lines of the replies.
func answers(x *exchange) (lines []string) {
	for _, d := range x.datagrams(nil) {
		lines = append(lines, strings.Split(string(d.Data), "\n")...)
	}
	return lines
}

// Where nothing can be written, the other lines are answered all the same.
func TestLinesBetweenThoseThatAreDenied(t *testing.T) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	serveDatagram(s, w, []byte("REGISTER room://192.0.2.9:40001 Foyer"))
	var x exchange
	x.start(&udp.Datagram{
		Data: []byte("LOOKUP Foyer\nREGISTER room://192.0.2.9:40002 Great Hall of Mirrors\nLOOKUP Foyer\n\nDEREGISTER Foyer\nLOOKUP Foyer"),
		Peer: netip.MustParseAddrPort("192.0.2.9:9"),
	})
	const found, denied = "OK room://192.0.2.9:40001", "NOTOK too many requests are waiting; try again"
	want := strings.Join([]string{found, denied, found, denied, found}, "\n")
	if done := s.serve(&x, &w.ahead, busyQueue); !done || strings.Join(answers(&x), "\n") != want {
		t.Errorf("done %v, got %q, want %q", done, answers(&x), want)
	}
}

// A batchConn hands out the same batch some times, is closed then, and keeps
// what was sent in answer to the last.
type batchConn struct {
	udp.Conn
	batch []udp.Datagram
	times int
	sent  []udp.Datagram
}

func (c *batchConn) Receive(ds []udp.Datagram, lock sync.Locker) (int, error) {
	if c.times == 0 {
		return 0, net.ErrClosed
	}
	c.times--
	for i, d := range c.batch {
		ds[i].Data = append(ds[i].Data[:0], d.Data...)
		ds[i].Peer = d.Peer
	}
	lock.Lock()
	return len(c.batch), nil
}

func (c *batchConn) Poll([]udp.Datagram) (int, error) { return 0, nil }

func (c *batchConn) Send(ds []udp.Datagram) error {
	if c.times == 0 {
		for _, d := range ds {
			d.Data = bytes.Clone(d.Data) // a view
			c.sent = append(c.sent, d)
		}
	}
	return nil
}

// TestBatches compares the answers to datagrams that arrive together with those
// to the same datagrams one by one. More batches do not mean more allocations.
func TestBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	for i := range 20 {
		serveDatagram(s, w, fmt.Appendf(nil, "@ttl=60 REGISTER room://192.0.2.1:%d the great hall of mirrors %d", 40000+i, i))
	}
	read := func(batch []udp.Datagram, times int) []udp.Datagram {
		c := &batchConn{batch: batch, times: times}
		if err := s.newIntake(c).readLoop(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		return c.sent
	}
	for n := range udp.BatchSize + 1 {
		var batch, want []udp.Datagram
		for i := range n {
			var lines []string
			for range r.IntN(2 * lookaheadLength) {
				hall := r.IntN(25)
				lines = append(lines,
					fmt.Sprint("LOOKUP the great hall of mirrors ", hall),
					fmt.Sprintf("@ttl=60 RENEW room://192.0.2.1:%d the great hall of mirrors %d", 40000+hall, hall),
					"", "LOOKUP \xff, which is no name at all")
				lines = lines[:len(lines)-r.IntN(4)]
			}
			data := strings.Join(lines, "\n")
			if len(data) > wire.MaxDatagram && i%2 == 0 {
				data = data[:wire.MaxDatagram]
			}
			d := udp.Datagram{Data: []byte(data[:min(len(data), wire.MaxDatagram+1)]), Peer: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), uint16(1+i))}
			batch = append(batch, d)
			want = append(want, read([]udp.Datagram{d}, 1)...)
		}
		got := read(batch, 1)
		if !slices.EqualFunc(got, want, func(a, b udp.Datagram) bool { return string(a.Data) == string(b.Data) && a.Peer == b.Peer }) {
			t.Fatalf("%q\n got %q\nwant %q", batch, got, want)
		}
	}

	batch := slices.Repeat([]udp.Datagram{{Data: []byte("LOOKUP the great hall of mirrors 1"), Peer: netip.MustParseAddrPort("192.0.2.9:9")}}, udp.BatchSize)
	one := testing.AllocsPerRun(10, func() { read(batch, 10) })
	// One for each further batch would be 90 more; what else runs may allocate some.
	if n := testing.AllocsPerRun(10, func() { read(batch, 100) }); n-one >= 90 {
		t.Errorf("10 batches allocate %v times and 100 batches %v times", one, n)
	}
}
