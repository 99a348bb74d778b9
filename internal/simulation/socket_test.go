package simulation

import (
	"bytes"
	"net/netip"
	"sync"
	"time"

	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/wire"
)

// A socket is the registry's. It behaves as one of Linux: what has arrived is
// taken by whoever comes first, the reader, which may be late, as it waits for a
// processor, or the writer when it begins a transaction.
//
// It tells the tap what is taken, counts what each peer sends and is sent, and
// objects when somebody is sent more than three bytes for one.
//
// So that a seed repeats, no two goroutines have something to do at the same
// instant: the reader takes one datagram at a time, nobody takes anything at the
// instant of the last taking, and the writer leaves signed datagrams to the
// reader, for a verifier would work on them beside it.
type socket struct {
	udp.Conn
	in   *udptest.Conn
	tap  *tap
	late func() time.Duration // after an arrival, until the reader comes to it

	mu    sync.Mutex                  // guards what follows
	taken time.Time                   // the last datagram
	awake bool                        // the reader has waited for one and comes for it
	bytes map[netip.AddrPort]*traffic // as many as the world has sockets
}

type traffic struct{ in, out int }

func newSocket(c *udptest.Conn, t *tap, late func() time.Duration) *socket {
	return &socket{Conn: udp.Single(c), in: c, tap: t, late: late, bytes: map[netip.AddrPort]*traffic{}}
}

func (s *socket) of(peer netip.AddrPort) *traffic {
	if s.bytes[peer] == nil {
		s.bytes[peer] = &traffic{}
	}
	return s.bytes[peer]
}

// Wait implements [udp.Conn].
func (s *socket) Wait() error {
	if err := s.in.Await(); err != nil {
		return err
	}
	time.Sleep(max(1, s.late()))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = true
	return nil
}

// Poll implements [udp.Conn]. It is the reader's if somebody has waited before it.
func (s *socket) Poll(ds []udp.Datagram) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awake {
		s.awake = false
		return s.take(ds[:1], nil)
	}
	return s.take(ds, func(datagram []byte) bool { return !bytes.Contains(datagram, []byte("sig=")) })
}

func (s *socket) take(ds []udp.Datagram, wanted func([]byte) bool) (n int, err error) {
	now := time.Now()
	if s.taken.Equal(now) {
		return 0, nil
	}
	for n < len(ds) {
		d := &ds[n]
		size, from, ok, err := s.in.TryRead(d.Data[:cap(d.Data)], wanted)
		if !ok {
			return n, err
		}
		*d = udp.Datagram{Data: d.Data[:size], Peer: from}
		s.tap.came(d.Data)
		s.of(from).in += size + wire.HeaderSize
		s.taken = now
		n++
	}
	return n, nil
}

// Send implements [udp.Conn].
func (s *socket) Send(ds []udp.Datagram) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		p := s.of(d.Peer)
		if p.out += len(d.Data) + wire.HeaderSize; p.out > 3*p.in {
			s.tap.problems.add("%v has sent %d bytes and is sent %d", d.Peer, p.in, p.out)
		}
	}
	return s.Conn.Send(ds)
}
