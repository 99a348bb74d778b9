package discovery

import (
	"fmt"
	"net/netip"
	"testing"

	"foyer/internal/udp"
	"foyer/storage/storetest"
)

// An arrivedConn has datagrams that nobody has received yet.
type arrivedConn struct {
	udp.Conn
	arrived []string
	sent    int
}

func (c *arrivedConn) Poll(ds []udp.Datagram) (n int, err error) {
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
