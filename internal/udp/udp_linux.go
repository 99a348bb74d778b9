package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// isPeerError reports whether a read failed because of what some peer did; on
// Linux only connected sockets are told of it.
func isPeerError(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// conn is a socket that moves batches by recvmmsg and sendmmsg.
type conn struct {
	c     *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	inet6 bool // the socket is AF_INET6, possibly serving IPv4 as well

	in       receiver              // of the goroutine that is in Poll
	asked    bool                  // of the one that is in Wait, see arrived
	waitCall func(fd uintptr) bool // made once, so that they need not be
	pollCall func(fd uintptr)      // allocated

	out     sync.Pool   // of *sender
	unjoint atomic.Bool // the kernel, or the device, does not split datagrams
}

// messages are the structures that one batch call works on. They point at each
// other and into the datagrams, so they stay where they are.
type messages struct {
	headers  [BatchSize]mmsghdr
	vectors  [BatchSize]unix.Iovec
	names    [BatchSize]unix.RawSockaddrInet6 // large enough for both families
	controls [BatchSize][controlSize]byte
}

// A receiver is what datagrams are received with.
type receiver struct {
	messages
	count int // messages to fill, and then filled
	err   syscall.Errno
}

// mmsghdr is struct mmsghdr of <sys/socket.h>.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// controlSize has room for one IPV6_PKTINFO or IP_PKTINFO message and one
// UDP_SEGMENT message.
const controlSize = 64

// maxJoined is the most bytes of datagrams that are given to the kernel as one
// (UDP_SEGMENT): what fits into the length field of an IPv4 header.
const maxJoined = 65535 - 28

type sender struct {
	messages
	first       [BatchSize + 1]int // the datagram that each message begins with
	next, count int                // messages sent, and in all
	err         syscall.Errno
	send        func(fd uintptr) bool
}

const canShare = true

// share lets several sockets of this user have one port; the kernel gives all
// that comes from one peer to the same one.
func share(_, _ string, c syscall.RawConn) error {
	var sockErr error
	err := c.Control(func(fd uintptr) {
		sockErr = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	})
	return errors.Join(err, sockErr)
}

func newConn(c *net.UDPConn) (Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &conn{c: c, raw: raw, local: localAddrOf(c)}
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		s.inet6 = domain == unix.AF_INET6
		if err == nil && s.local.Addr().IsUnspecified() {
			if s.inet6 {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			}
		}
		sockErr = os.NewSyscallError("setsockopt", err)
	})
	if err := errors.Join(err, sockErr); err != nil {
		return nil, err
	}
	s.waitCall = s.arrived
	s.pollCall = s.in.recvmmsg
	s.out.New = func() any {
		o := new(sender)
		o.send = o.sendmmsg
		return o
	}
	return s, nil
}

func (s *conn) Wait() error {
	s.asked = false
	return s.raw.Read(s.waitCall)
}

// arrived is called by RawConn.Read, which waits if it returns false, and calls
// it again then. The first time it has to look: Read is not woken for what came
// before it was called.
func (s *conn) arrived(fd uintptr) bool {
	if s.asked {
		return true
	}
	s.asked = true
	p, now := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.Timespec{}
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n > 0
}

func (s *conn) Poll(ds []Datagram) (int, error) {
	r := &s.in
	r.begin(ds)
	// Read would wait for whoever is in Wait.
	if err := s.raw.Control(s.pollCall); err != nil {
		return 0, err
	}
	switch {
	case r.err == 0:
		return r.finish(ds), nil
	case r.err == unix.EAGAIN || passing(r.err):
		return 0, nil
	}
	return 0, os.NewSyscallError("recvmmsg", r.err)
}

// passing reports whether a failure to receive says nothing of the next try.
func passing(err syscall.Errno) bool { return err == unix.ECONNREFUSED || err == unix.EINTR }

// begin makes the messages ready to be filled with ds.
func (r *receiver) begin(ds []Datagram) {
	r.count = min(len(ds), BatchSize)
	for i := range r.count {
		data := ds[i].Data[:cap(ds[i].Data)]
		r.vectors[i].Base = &data[0]
		r.vectors[i].SetLen(len(data))
		r.headers[i].Name = (*byte)(unsafe.Pointer(&r.names[i]))
		r.headers[i].Namelen = unix.SizeofSockaddrInet6
		r.headers[i].Iov = &r.vectors[i]
		r.headers[i].SetIovlen(1)
		r.headers[i].Control = &r.controls[i][0]
		r.headers[i].SetControllen(controlSize)
	}
}

// recvmmsg fills messages. The raw call does not tell the scheduler that it may
// block; with MSG_DONTWAIT it does not.
func (r *receiver) recvmmsg(fd uintptr) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])),
		uintptr(r.count), unix.MSG_DONTWAIT, 0, 0)
	if r.err = errno; errno == 0 {
		r.count = int(n)
	}
}

// finish makes ds what the messages were filled with.
func (r *receiver) finish(ds []Datagram) int {
	for i := range ds[:r.count] {
		d := &ds[i]
		d.Data = d.Data[:r.headers[i].n]
		d.Peer = endpoint(&r.names[i])
		d.Local = localAddr(r.controls[i][:r.headers[i].Controllen])
	}
	return r.count
}

func (s *conn) Send(ds []Datagram) error {
	o := s.out.Get().(*sender)
	defer s.out.Put(o)
	var errs error
	for len(ds) > 0 {
		batch := ds[:min(len(ds), BatchSize)]
		s.prepare(o, batch)
		sent := len(batch)
		for o.next < o.count {
			if err := s.raw.Write(o.send); err != nil {
				return err
			}
			if o.err == 0 {
				continue
			}
			if o.first[o.next+1]-o.first[o.next] > 1 {
				// Perhaps the joining is at fault. It is done without from now on.
				s.unjoint.Store(true)
				sent = o.first[o.next]
				break
			}
			errs = os.NewSyscallError("sendmmsg", o.err)
			o.next++ // this datagram is lost
		}
		ds = ds[sent:]
	}
	return errs
}

func (o *sender) sendmmsg(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.headers[o.next])),
		uintptr(o.count-o.next), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		return false
	}
	if o.err = errno; errno == 0 {
		o.next += int(n)
	}
	return true
}

// prepare fills the messages with a batch. A run of datagrams of one length
// (the last one may be shorter) between the same two addresses makes one message,
// which the kernel splits (UDP_SEGMENT, Linux 4.18): a run of sixteen costs
// little more than one datagram.
func (s *conn) prepare(o *sender, ds []Datagram) {
	o.next, o.count = 0, 0
	joint := !s.unjoint.Load()
	for i := 0; i < len(ds); {
		d := &ds[i]
		end := i + 1
		if joint {
			end = runEnd(ds, i)
		}
		for k := i; k < end; k++ {
			o.vectors[k].Base = unsafe.SliceData(ds[k].Data)
			o.vectors[k].SetLen(len(ds[k].Data))
		}
		h := &o.headers[o.count]
		h.Iov = &o.vectors[i]
		h.SetIovlen(end - i)
		h.Name = (*byte)(unsafe.Pointer(&o.names[o.count]))
		h.Namelen = s.setName(&o.names[o.count], d.Peer)
		control := o.controls[o.count][:0]
		if d.Local.IsValid() {
			control = s.appendLocal(control, d.Local)
		}
		if end > i+1 {
			control = appendSegment(control, len(d.Data))
		}
		h.Control = unsafe.SliceData(control)
		h.SetControllen(len(control))
		o.first[o.count] = i
		o.count++
		i = end
	}
	o.first[o.count] = len(ds)
}

// runEnd returns where the run of datagrams ends that begins at i and can be
// sent as one.
func runEnd(ds []Datagram, i int) (end int) {
	first := &ds[i]
	size := len(first.Data)
	total := size
	for end = i + 1; end < len(ds) && size > 0; end++ {
		d := &ds[end]
		total += len(d.Data)
		if len(d.Data) > size || len(d.Data) == 0 || total > maxJoined || d.Peer != first.Peer || d.Local != first.Local {
			return end
		}
		if len(d.Data) < size {
			return end + 1
		}
	}
	return end
}

// setName writes peer as the socket's family has it.
func (s *conn) setName(name *unix.RawSockaddrInet6, peer netip.AddrPort) uint32 {
	if s.inet6 {
		*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: peer.Addr().As16()}
		setPort(&name.Port, peer.Port())
		if zone := peer.Addr().Zone(); zone != "" {
			if id, err := strconv.ParseUint(zone, 10, 32); err == nil {
				name.Scope_id = uint32(id)
			}
		}
		return unix.SizeofSockaddrInet6
	}
	in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
	*in4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: peer.Addr().Unmap().As4()}
	setPort(&in4.Port, peer.Port())
	return unix.SizeofSockaddrInet4
}

// endpoint reads what the kernel wrote; a zone is kept as its number.
func endpoint(name *unix.RawSockaddrInet6) netip.AddrPort {
	if name.Family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port(&in4.Port))
	}
	a := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 && a.Is6() {
		a = a.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}
	return netip.AddrPortFrom(a, port(&name.Port))
}

// Ports are in network order in a sockaddr, whatever the machine's order.
func port(p *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:])
}

func setPort(p *uint16, v uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], v)
}

// localAddr finds the destination address in a datagram's control messages.
func localAddr(control []byte) netip.Addr {
	if len(control) < unix.SizeofCmsghdr {
		return netip.Addr{}
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	data := control[unix.CmsgLen(0):]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		return netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr).Unmap()
	}
	return netip.Addr{}
}

// appendLocal appends the control message that makes a datagram leave from
// local. An IPv4 address on an IPv6 socket is written mapped.
func (s *conn) appendLocal(control []byte, local netip.Addr) []byte {
	if s.inet6 {
		control, data := appendControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		(*unix.Inet6Pktinfo)(data).Addr = local.As16()
		return control
	}
	control, data := appendControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	(*unix.Inet4Pktinfo)(data).Spec_dst = local.As4()
	return control
}

// appendSegment appends the control message that makes the kernel split what is
// sent into datagrams of size bytes.
func appendSegment(control []byte, size int) []byte {
	control, data := appendControl(control, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	*(*uint16)(data) = uint16(size)
	return control
}

// appendControl appends an empty control message, for which there is capacity,
// and returns where its data goes.
func appendControl(control []byte, level, kind int32, size int) ([]byte, unsafe.Pointer) {
	at := len(control)
	control = control[:at+unix.CmsgSpace(size)]
	clear(control[at:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	return control, unsafe.Pointer(&control[at+unix.CmsgLen(0)])
}

func (s *conn) SetReadDeadline(t time.Time) error { return s.c.SetReadDeadline(t) }
func (s *conn) LocalAddr() netip.AddrPort         { return s.local }
func (s *conn) Close() error                      { return s.c.Close() }
