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
	"testing"

	"foyer"
	"foyer/internal/testenv"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/storage/storetest"
	"foyer/wire"
)

// TestLinesAreAnsweredInOrder compares the answers to the lines of one datagram
// with the answers to the same lines sent one by one.
func TestLinesAreAnsweredInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
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
		for n := 1 + r.IntN(2*stepLength); len(lines) < n && len(strings.Join(lines, "\n")) < 1000; {
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
	x := exchangeOf("LOOKUP Foyer\nREGISTER room://192.0.2.9:40002 Great Hall of Mirrors\nLOOKUP Foyer\n\nDEREGISTER Foyer\nLOOKUP Foyer")
	const found, denied = "OK room://192.0.2.9:40001", "NOTOK too many requests are waiting; try again"
	want := strings.Join([]string{found, denied, found, denied, found}, "\n")
	s.refuseRest(x, &w.lookups, busyQueue)
	if strings.Join(answers(x), "\n") != want {
		t.Errorf("got %q, want %q", answers(x), want)
	}
}

// A twiceStore runs every transaction twice, as if the first try were in conflict with
// somebody else's, or refuses it after the first.
type twiceStore struct {
	storage.Store
	refuses bool
}

func (s *twiceStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	again := errors.New("again")
	if err := s.Store.Update(now, func(tx storage.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return again
	}); err != again {
		return err
	}
	if s.refuses {
		return foyer.ErrUnavailable
	}
	return s.Store.Update(now, fn)
}

// longDatagrams returns datagrams with more lines than are read at a time, of which
// the first needs a transaction and others are signed.
func longDatagrams(b *bench) (all []string) {
	looks := func(n int) string { return strings.Repeat("\nLOOKUP Foyer", n) }
	for _, n := range []int{0, 1, stepLength - 2, stepLength - 1, stepLength, 27} {
		register := b.registerSigned(1, "room://192.0.2.10:1", "Hall")
		all = append(all, "REGISTER room://192.0.2.10:2 Foyer"+looks(n)+"\n"+register+"\n"+b.signed(1, "", "DEREGISTER Hall")+looks(n)+"\nREGISTER room://192.0.2.10:3 Attic")
	}
	return all
}

// serveArrived carries a datagram through intake, verifier and writer, and returns the
// lines of the replies.
func serveArrived(t *testing.T, store storage.Store, datagram string) (lines []string) {
	s, w := newIdleServer(store)
	s.anyAddress = true
	c := &arrivedConn{arrived: []string{datagram}}
	w.intakes = append(w.intakes, s.newIntake(c))
	w.gather()
	if len(s.toVerify) == 1 {
		x := <-s.toVerify
		if !s.judge(x) || s.answer(x, &w.lookups) {
			t.Fatal("there is nothing for the writer")
		}
		w.group = append(w.group, x)
	}
	if len(w.group) != 1 {
		t.Fatalf("%d datagrams have come to the writer: %q", len(w.group), c.replies)
	}
	w.commit()
	for _, d := range c.replies {
		lines = append(lines, strings.Split(d, "\n")...)
	}
	return lines
}

// A transaction that is carried out again leads to the same answers as one that is
// carried out once.
func TestTransactionsMayRunAgain(t *testing.T) {
	run(t, func(b *bench) {
		for _, datagram := range longDatagrams(b) {
			plain, again := storetest.NewModel(storetest.Sabotage{}), storetest.NewModel(storetest.Sabotage{})
			once, twice := serveArrived(t, plain, datagram), serveArrived(t, &twiceStore{Store: again}, datagram)
			if !slices.Equal(once, twice) || len(once) != strings.Count(datagram, "\n")+1 {
				t.Errorf("%s\n once: %q\ntwice: %q", datagram, once, twice)
			}
			if plain.Len() != 2 || again.Len() != 2 {
				t.Errorf("%s\n%d and %d rooms are registered, want 2", datagram, plain.Len(), again.Len())
			}
		}
	})
}

// When a transaction fails after it has been carried out, every line of it is answered
// anew, whatever was read of the datagram by then, or given up because its reply did
// not fit.
func TestLinesOfATransactionThatFailed(t *testing.T) {
	run(t, func(b *bench) {
		outgrown := strings.Repeat("\n", 60) + "REGISTER room://" + strings.Repeat("host.", 10) + "a:1 x" + strings.Repeat("\nLOOKUP x", stepLength+2)
		for _, datagram := range append(longDatagrams(b), outgrown) {
			got := serveArrived(t, &twiceStore{Store: storetest.NewModel(storetest.Sabotage{}), refuses: true}, datagram)
			for i, line := range strings.Split(strings.TrimLeft(datagram, "\n"), "\n") {
				want := errUnavailable.Text
				if strings.HasPrefix(line, "LOOKUP") {
					want = errUnknown.Text
				}
				if i >= len(got) || !strings.HasSuffix(got[i], want) {
					t.Fatalf("%s\nline %d got %q, want %q", datagram, i, got[min(i, len(got)):], want)
				}
			}
		}
	})
}

// A batchConn hands out the same batch some times, is closed then, and keeps
// what was sent in answer to the last.
type batchConn struct {
	udp.Conn
	batch []udp.Datagram
	times int
	sent  []udp.Datagram
}

func (c *batchConn) Wait() error { return nil }

func (c *batchConn) Poll(ds []udp.Datagram) (int, error) {
	if c.times == 0 {
		return 0, net.ErrClosed
	}
	c.times--
	for i, d := range c.batch {
		ds[i].Data = append(ds[i].Data[:0], d.Data...)
		ds[i].Peer = d.Peer
	}
	return len(c.batch), nil
}

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
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
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
			for range r.IntN(2 * stepLength) {
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
