package discovery

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"foyer/internal/udp"
	"foyer/storage/storetest"
)

// An arrivedConn has datagrams that nobody has received yet.
type arrivedConn struct {
	udp.Conn
	arrived []string
	sent    int
	replies []string
	polled  func() // called by Poll, if not nil
}

func (c *arrivedConn) Poll(ds []udp.Datagram) (n int, err error) {
	if c.polled != nil {
		c.polled()
	}
	for n < len(ds) && n < len(c.arrived) {
		ds[n].Data = append(ds[n].Data[:0], c.arrived[n]...)
		ds[n].Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n % 8)}), 1)
		n++
	}
	c.arrived = c.arrived[n:]
	return n, nil
}

func (c *arrivedConn) Send(ds []udp.Datagram) error {
	c.sent += len(ds)
	for _, d := range ds {
		c.replies = append(c.replies, string(d.Data))
	}
	return nil
}

// A transaction takes in all that has arrived when it begins, from every socket,
// but no more than the queue may hold; what needs no transaction is answered at
// once.
func TestATransactionBeginsWithWhatHasArrived(t *testing.T) {
	for _, n := range []int{0, 1, udp.BatchSize, 5*udp.BatchSize + 1, 3 * queueLength} {
		s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		conns := []*arrivedConn{{}, {}}
		for i := range n {
			c := conns[i%2]
			c.arrived = append(c.arrived, fmt.Sprintf("REGISTER room://h:%d room %d", 1+i, i), "LOOKUP nobody")
		}
		for _, c := range conns {
			w.intakes = append(w.intakes, s.newIntake(c))
		}
		w.gather()
		if want := min(n, queueLength); len(w.group) != want {
			t.Errorf("of %d registrations, %d begin the transaction, want %d", n, len(w.group), want)
		}
		if n > queueLength {
			continue // some were refused, and some are left
		}
		if got := conns[0].sent + conns[1].sent; got != n {
			t.Errorf("%d of %d look-ups are answered", got, n)
		}
		w.commit()
		if got := conns[0].sent + conns[1].sent; got != 2*n || s.store.Len() != n {
			t.Errorf("%d of %d requests are answered, %d rooms registered", got, 2*n, s.store.Len())
		}
	}
}

// When the writer's queue is full, what would have to wait is refused at once, and the
// rest of its datagram answered. What is refused does not count as waiting.
func TestFullQueue(t *testing.T) {
	s, _ := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	const over = 100
	c := &arrivedConn{}
	for i := range queueLength + over {
		c.arrived = append(c.arrived, fmt.Sprintf("LOOKUP nobody\nREGISTER room://h:%d room %d\nLOOKUP nobody", 1+i, i))
	}
	r := s.newIntake(c)
	for len(c.arrived) > 0 {
		if _, err := r.readBatch(); err != nil {
			t.Fatal(err)
		}
	}
	const unknown = "NOTOK no room of that name is registered"
	want := unknown + "\nNOTOK too many requests are waiting; try again\n" + unknown
	if len(s.toWrite) != queueLength || len(c.replies) != over || slices.ContainsFunc(c.replies, func(r string) bool { return r != want }) {
		t.Errorf("%d wait, %d are answered, %q", len(s.toWrite), len(c.replies), c.replies)
	}
	waiting := 0
	for _, n := range s.shares.waiting {
		waiting += n
	}
	if waiting != queueLength {
		t.Errorf("%d are counted as waiting, want %d", waiting, queueLength)
	}
}

// What one peer sends is carried out in order, also where its reader takes a part of
// it in while the writer is busy with another socket.
func TestReaderAndWriterKeepTheOrder(t *testing.T) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	conns := []*arrivedConn{{}, {}}
	for _, c := range conns {
		w.intakes = append(w.intakes, s.newIntake(c))
	}
	const sent = 3 * udp.BatchSize
	for i := range sent {
		conns[1].arrived = append(conns[1].arrived, fmt.Sprintf("REGISTER room://h:%d room %d", 1+i, i))
	}
	conns[0].polled = func() { // once before the writer comes to the second socket, and once in each round
		if _, err := w.intakes[1].readBatch(); err != nil {
			t.Error(err)
		}
	}
	w.gather()
	if len(w.group) != sent {
		t.Fatalf("%d of %d requests are in the group", len(w.group), sent)
	}
	for i, x := range w.group {
		if want := fmt.Sprint("room ", i); string(x.request().name) != want {
			t.Fatalf("place %d is %q's, want %q", i, x.request().name, want)
		}
	}
}

// A floodedConn always has something more.
type floodedConn struct {
	udp.Conn
	answered chan struct{}
}

func (c *floodedConn) Poll(ds []udp.Datagram) (int, error) {
	ds[0].Data = append(ds[0].Data[:0], "LOOKUP nobody"...)
	ds[0].Peer = netip.MustParseAddrPort("192.0.2.9:9")
	return 1, nil
}

func (c *floodedConn) Send([]udp.Datagram) error {
	select {
	case c.answered <- struct{}{}:
	default:
	}
	return nil
}

func (c *floodedConn) SetReadDeadline(time.Time) error { return nil }

// A server that is flooded stops when it is told to.
func TestStopUnderLoad(t *testing.T) {
	s, _ := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	ctx, cancel := context.WithCancel(t.Context())
	c := &floodedConn{answered: make(chan struct{})}
	done := make(chan error)
	go func() { done <- s.Serve(ctx, c) }()
	<-c.answered
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
