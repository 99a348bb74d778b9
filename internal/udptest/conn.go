package udptest

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// A Conn is a socket on a [Network]. Its methods are those of [net.UDPConn]
// with the same names and may be called concurrently, even by several readers.
// All of its state is guarded by the Network's mu.
type Conn struct {
	net   *Network       // set once
	port  *port          // set once
	addr  netip.AddrPort // set once
	limit int            // set once

	arrived  []datagram // due, not yet read; at most limit
	deadline time.Time  // of reads; zero for none
	closed   bool
	waiting  int           // reads waiting for changed
	changed  chan struct{} // closed, and made anew, when a waiting read should look again
}

type datagram struct {
	from     netip.AddrPort
	payload  []byte
	due      time.Time
	sequence uint64
}

// flight is a heap of datagrams, with the one due first on top.
type flight []datagram

func (f flight) Len() int      { return len(f) }
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f flight) Less(i, j int) bool {
	return cmp.Or(f[i].due.Compare(f[j].due), cmp.Compare(f[i].sequence, f[j].sequence)) < 0
}
func (f *flight) Push(x any) { *f = append(*f, x.(datagram)) }
func (f *flight) Pop() any {
	last := len(*f) - 1
	d := (*f)[last]
	(*f)[last] = datagram{}
	*f = (*f)[:last]
	return d
}

// wake makes every waiting read look again.
func (c *Conn) wake() {
	if c.waiting > 0 {
		close(c.changed)
		c.changed = make(chan struct{})
		c.waiting = 0
	}
}

// ReadFromUDPAddrPort waits for a datagram and copies it to b; what does not
// fit is cut off, as on Linux. Its error is a [*net.OpError] that wraps
// [net.ErrClosed] or [os.ErrDeadlineExceeded].
func (c *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		if err := c.Await(); err != nil {
			return 0, netip.AddrPort{}, err
		}
		if n, from, ok, err := c.TryRead(b, nil); ok || err != nil {
			return n, from, err // else another reader was faster
		}
	}
}

// Await waits until there is a datagram to read. Its errors are those of
// ReadFromUDPAddrPort.
func (c *Conn) Await() error {
	for {
		arrived, wait, changed, err := c.look()
		switch {
		case err != nil:
			return c.opError("read", err)
		case arrived:
			return nil
		case wait < 0:
			<-changed
		default:
			t := time.NewTimer(wait)
			select {
			case <-changed:
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// look reports whether a datagram has arrived, or how long to wait (negative:
// without limit) and the channel that ends the wait early.
func (c *Conn) look() (arrived bool, wait time.Duration, changed <-chan struct{}, err error) {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if c.closed {
		return false, 0, nil, net.ErrClosed
	}
	if !c.deadline.IsZero() && !now.Before(c.deadline) {
		return false, 0, nil, os.ErrDeadlineExceeded
	}
	n.arrive(c.port, now)
	if len(c.arrived) > 0 {
		return true, 0, nil, nil
	}
	wait = -1
	if len(c.port.flight) > 0 {
		wait = c.port.flight[0].due.Sub(now)
	}
	if !c.deadline.IsZero() {
		if left := c.deadline.Sub(now); wait < 0 || left < wait {
			wait = left
		}
	}
	c.waiting++
	return false, wait, c.changed, nil
}

// TryRead is ReadFromUDPAddrPort without waiting and without the deadline: ok
// is false if nothing has arrived, or if wanted refuses the first datagram. A
// nil wanted accepts all.
func (c *Conn) TryRead(b []byte, wanted func(payload []byte) bool) (n int, from netip.AddrPort, ok bool, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return 0, from, false, c.opError("read", net.ErrClosed)
	}
	c.net.arrive(c.port, time.Now())
	if len(c.arrived) == 0 || wanted != nil && !wanted(c.arrived[0].payload) {
		return 0, from, false, nil
	}
	d := c.arrived[0]
	c.arrived[0] = datagram{}
	c.arrived = c.arrived[1:]
	c.net.stats.Delivered++
	return copy(b, d.payload), d.from, true, nil
}

// WriteToUDPAddrPort sends b to addr. As with UDP, it succeeds whether or not
// anybody receives it.
func (c *Conn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	addr = unmap(addr)
	c.net.mu.Lock()
	closed := c.closed
	c.net.mu.Unlock()
	switch {
	case closed:
		return 0, c.opError("write", net.ErrClosed)
	case !addr.IsValid() || addr.Port() == 0:
		return 0, c.opError("write", syscall.EINVAL)
	case addr.Addr().Is4() != c.addr.Addr().Is4():
		return 0, c.opError("write", syscall.EAFNOSUPPORT)
	case len(b) > maxPayload:
		return 0, c.opError("write", syscall.EMSGSIZE)
	}
	c.net.send(c.addr, addr, b)
	return len(b), nil
}

// SetReadDeadline sets when reads fail, including those already waiting; the
// zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	c.deadline = t
	c.wake()
	return nil
}

// LocalAddr returns a [*net.UDPAddr].
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

// AddrPort returns the local address as WriteToUDPAddrPort takes it.
func (c *Conn) AddrPort() netip.AddrPort { return c.addr }

// Close ends the socket and every read that waits. Unread datagrams are gone;
// those in flight arrive at the next socket at the same address.
func (c *Conn) Close() error {
	n := c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	n.arrive(c.port, time.Now())
	c.arrived, c.port.conn = nil, nil
	c.wake()
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}
