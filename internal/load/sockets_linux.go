package load

import (
	"io"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"foyer/internal/udp"
)

const canShare = true

func openShared(target netip.AddrPort, n, window int) (sockets, error) {
	return Dial("udp", target, n, window)
}

// Sockets are sockets that are connected to one address and used by one
// goroutine, which waits for all of them at once (epoll). With a goroutine for
// each of 256 sockets the load would cost more than what it measures. Calls that
// cannot block are raw ones, which spares Go's scheduler the news.
type Sockets struct {
	datagrams bool
	epoll     int
	fds       []int
	split     []int // by socket: at which length the kernel splits what is sent, 0 for not at all

	events  []unix.EpollEvent
	headers []mmsghdr
	vectors []unix.Iovec
	in      [][]byte
	out     []byte
}

// mmsghdr is struct mmsghdr of <sys/socket.h>.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// readSize is the most that is read as one piece.
const readSize = 4 << 10

// Dial connects n sockets to target; network is "udp" or "tcp". Each has window
// requests in flight.
func Dial(network string, target netip.AddrPort, n, window int) (_ *Sockets, err error) {
	s := &Sockets{datagrams: network == "udp", split: make([]int, n), events: make([]unix.EpollEvent, n)}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for i := range n {
		if err := s.add(i, target); err != nil {
			return nil, err
		}
	}
	batch := min(window, udp.BatchSize)
	s.headers, s.vectors, s.in = make([]mmsghdr, batch), make([]unix.Iovec, batch), make([][]byte, batch)
	for i := range batch {
		s.in[i] = make([]byte, readSize)
		s.vectors[i].Base = &s.in[i][0]
		s.vectors[i].SetLen(readSize)
		s.headers[i].Iov = &s.vectors[i]
		s.headers[i].SetIovlen(1)
	}
	return s, nil
}

// add connects socket i.
func (s *Sockets) add(i int, target netip.AddrPort) error {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var address unix.Sockaddr
	if a := target.Addr().Unmap(); a.Is4() {
		address = &unix.SockaddrInet4{Addr: a.As4(), Port: int(target.Port())}
	} else {
		family = unix.AF_INET6
		in6 := &unix.SockaddrInet6{Addr: a.As16(), Port: int(target.Port())}
		if a.Zone() != "" {
			ifi, err := net.InterfaceByName(a.Zone())
			if err != nil {
				return err
			}
			in6.ZoneId = uint32(ifi.Index)
		}
		address = in6
	}
	if s.datagrams {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	s.fds = append(s.fds, fd)
	if err := unix.Connect(fd, address); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if !s.datagrams {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)} // the number is for us
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// Send sends requests through socket i, each a datagram, or all as one piece of a
// stream. What cannot be sent at once is lost.
func (s *Sockets) Send(i int, requests [][]byte) {
	for len(requests) > 0 {
		n := len(requests)
		if s.datagrams {
			n = s.run(i, requests)
		}
		s.out = s.out[:0]
		for _, r := range requests[:n] {
			s.out = append(s.out, r...)
		}
		_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fds[i]), uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		requests = requests[n:]
	}
}

// maxJoined is the most bytes that are sent as one: what fits into the length
// field of an IPv4 header.
const maxJoined = 65535 - 28

// run returns how many of the first datagrams have one length and can be sent as
// one, which the kernel then splits (UDP_SEGMENT, Linux 4.18).
func (s *Sockets) run(i int, requests [][]byte) (n int) {
	size := len(requests[0])
	for n < min(len(requests), udp.BatchSize, maxJoined/size) && len(requests[n]) == size {
		n++
	}
	// It would split a longer one, too.
	if (n > 1 || s.split[i] > 0) && s.split[i] != size {
		if unix.SetsockoptInt(s.fds[i], unix.IPPROTO_UDP, unix.UDP_SEGMENT, size) != nil {
			return 1
		}
		s.split[i] = size
	}
	return n
}

// Receive waits, at most so long, until something arrives, and hands on what has
// arrived by then on each socket: datagrams, or pieces of a stream, valid during the
// call. Its error is a stream that has ended.
func (s *Sockets) Receive(wait time.Duration, take func(i int, data [][]byte)) error {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epoll), uintptr(unsafe.Pointer(&s.events[0])), uintptr(len(s.events)), 0, 0, 0)
	if errno == 0 && n == 0 {
		ready, err := unix.EpollWait(s.epoll, s.events, int(wait.Milliseconds()))
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("epoll_wait", err)
		}
		n = uintptr(max(ready, 0))
	}
	if errno != 0 && errno != unix.EINTR {
		return os.NewSyscallError("epoll_pwait", errno)
	}
	for _, e := range s.events[:n] {
		if err := s.read(int(e.Fd), take); err != nil {
			return err
		}
	}
	return nil
}

// read hands on what socket i has, up to a batch.
func (s *Sockets) read(i int, take func(i int, data [][]byte)) error {
	n, errno := s.receive(uintptr(s.fds[i]))
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR || s.datagrams && errno == unix.ECONNREFUSED:
		return nil
	case errno != 0:
		return os.NewSyscallError("recv", errno)
	case !s.datagrams && len(s.in[0]) == 0:
		return io.ErrUnexpectedEOF
	}
	take(i, s.in[:n])
	return nil
}

// receive fills s.in, and returns how much of it.
func (s *Sockets) receive(fd uintptr) (n int, _ unix.Errno) {
	if len(s.in) == 1 { // the plain call is some per cent cheaper
		size, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(s.vectors[0].Base)), readSize, unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			s.in[0] = s.in[0][:size]
		}
		return 1, errno
	}
	count, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.headers[0])), uintptr(len(s.headers)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	for k := range int(count) {
		s.in[k] = s.in[k][:s.headers[k].n]
	}
	return int(count), 0
}

// Close closes all sockets.
func (s *Sockets) Close() error {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	return os.NewSyscallError("close", unix.Close(s.epoll))
}
