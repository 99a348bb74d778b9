// Package udp sends and receives datagrams in batches. On Linux a batch is one
// system call (recvmmsg, sendmmsg); elsewhere, and on a network in memory, its
// datagrams go one by one. Both are a [Conn].
//
// A Conn that is bound to a wildcard address also tells to which of the
// machine's addresses a datagram was sent, so that the reply can leave from
// there (IP_PKTINFO, RFC 3542): a peer takes a reply only from the address
// that it asked.
package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// BatchSize is how many datagrams a Conn moves in one system call at most. 64
// of them amortise the call to a few per cent of its cost.
const BatchSize = 64

// A Datagram is one datagram received or to be sent.
type Datagram struct {
	Data []byte

	// Peer is where it came from or goes to, an IPv4-mapped address unmapped.
	Peer netip.AddrPort

	// Local is the address of this machine that it was sent to, or is to be
	// sent from; the zero Addr leaves the choice to the system.
	Local netip.Addr
}

// A Conn is a UDP socket. To wait for datagrams and to take them are two things,
// so that several goroutines can take turns at a socket, under a lock of their
// own, while one of them waits. [Receive] is both, for whoever has a Conn alone.
type Conn interface {
	// Wait returns when there is a datagram for Poll, which somebody else may
	// have taken by then. It is called from one goroutine at a time.
	//
	// The error is [net.ErrClosed] after Close and [os.ErrDeadlineExceeded] after
	// the read deadline; errors of single peers, such as a refused port, are not
	// reported.
	Wait() error

	// Poll takes up to len(ds) datagrams that have arrived and returns how many
	// there are, 0 if there is nothing to be had at once: it copies their data
	// into the Data slices that ds brings and sets those lengths. What is longer
	// than a Data slice has room for is cut off. It is called from one goroutine
	// at a time, which need not be the one that is in Wait. Its errors are those
	// of Wait, but for the deadline; some are for Wait to tell.
	Poll(ds []Datagram) (int, error)

	// Send sends all of ds. A datagram that cannot be sent (a full buffer, no
	// route) is lost, as the network may lose any: the error is for counting.
	Send(ds []Datagram) error

	// SetReadDeadline ends a Wait at t, the one that is under way as well.
	SetReadDeadline(t time.Time) error

	// LocalAddr returns the address that the socket is bound to.
	LocalAddr() netip.AddrPort

	Close() error
}

// Receive waits for datagrams and takes them as [Conn.Poll] does, at least one.
func Receive(c Conn, ds []Datagram) (int, error) {
	for {
		if err := c.Wait(); err != nil {
			return 0, err
		}
		if n, err := c.Poll(ds); n > 0 || err != nil {
			return n, err
		}
	}
}

// A PacketConn sends and receives single datagrams: [*net.UDPConn], or a
// network in memory.
type PacketConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
	SetReadDeadline(t time.Time) error
	LocalAddr() net.Addr
	Close() error
}

// Listen opens a UDP socket on address, host:port as net.ListenPacket takes
// it, with a receive buffer that rides out a stall of some milliseconds.
func Listen(address string) (Conn, error) { return listen(net.ListenConfig{}, address) }

// ListenServer opens the sockets of a server on address: one, or where the
// machine has cores for more (and the system divides what arrives between them,
// SO_REUSEPORT on Linux) several.
func ListenServer(address string, cores int) ([]Conn, error) {
	n := 1
	if canShare {
		n = min(max(1, cores/2), maxSockets) // the other half writes and verifies
	}
	first, err := listen(net.ListenConfig{}, address)
	if err != nil {
		return nil, err
	}
	if n == 1 {
		return []Conn{first}, nil
	}
	// Nobody else had the port. It is opened again to be shared, which would not
	// have been refused if another server shared it already.
	address = first.LocalAddr().String()
	if err := first.Close(); err != nil {
		return nil, err
	}
	var conns []Conn
	for range n {
		c, err := listen(net.ListenConfig{Control: share}, address)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// maxSockets bounds the sockets of a server, and with them its readers.
const maxSockets = 8

func listen(config net.ListenConfig, address string) (Conn, error) {
	pc, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	c := pc.(*net.UDPConn)
	// The kernel grants less where net.core.rmem_max is lower; that is its say.
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	conn, err := newConn(c)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("listen %s: %w", address, err)
	}
	return conn, nil
}

// socketBuffer is the size asked for each socket's receive and send buffer, in
// bytes: some 4,000 small datagrams, 10 ms at full speed.
const socketBuffer = 4 << 20

// Single returns a Conn that moves datagrams one by one.
func Single(c PacketConn) Conn { return &single{c: c} }

// A single cannot tell that a datagram has arrived but by reading it: Wait does,
// and holds it for Poll.
type single struct {
	c PacketConn

	mu    sync.Mutex
	taken bool // by Wait, for Poll, as are these
	n     int
	peer  netip.AddrPort
	data  [1 << 16]byte // Wait's until it is taken, as a datagram is no longer
}

func (s *single) Wait() error {
	s.mu.Lock()
	taken := s.taken
	s.mu.Unlock()
	for !taken {
		n, peer, err := s.c.ReadFromUDPAddrPort(s.data[:])
		if err != nil {
			if isPeerError(err) {
				continue
			}
			return err
		}
		s.mu.Lock()
		taken, s.taken, s.n, s.peer = true, true, n, peer
		s.mu.Unlock()
	}
	return nil
}

func (s *single) Poll(ds []Datagram) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken {
		return 0, nil
	}
	s.taken = false
	d := &ds[0]
	d.Data = d.Data[:copy(d.Data[:cap(d.Data)], s.data[:s.n])]
	d.Peer, d.Local = unmapped(s.peer), netip.Addr{}
	return 1, nil
}

func (s *single) Send(ds []Datagram) error {
	var errs error
	for i := range ds {
		if _, err := s.c.WriteToUDPAddrPort(ds[i].Data, ds[i].Peer); err != nil {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

func (s *single) SetReadDeadline(t time.Time) error { return s.c.SetReadDeadline(t) }
func (s *single) Close() error                      { return s.c.Close() }

func (s *single) LocalAddr() netip.AddrPort { return localAddrOf(s.c) }

func localAddrOf(c PacketConn) netip.AddrPort {
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return unmapped(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
