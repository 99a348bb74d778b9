package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"foyer/internal/udp"
	"foyer/storage"
)

// The limits of TCP (RFC 7766). A connection has a goroutine and some 8 KiB.
const (
	// maxConns bounds the connections, and maxConnsPerHost those of a host (an IPv4
	// address, 64 bits of an IPv6 one); more are closed at once. So it takes four
	// hosts to keep others from TCP, and UDP goes on.
	maxConns        = 256
	maxConnsPerHost = maxConns / 4

	// idleTime is how long the next query may take to arrive, whole; when more than
	// half of the connections are taken it is crowdedTime, so that those who only
	// hold theirs make way.
	idleTime    = 10 * time.Second
	crowdedTime = 2 * time.Second

	// writeTime is how long a reply may take to be taken.
	writeTime = 5 * time.Second

	// maxTCPQuery is the longest query, in bytes: the longest name and options of any
	// sensible length. Who sends a longer one is cut off.
	maxTCPQuery = 4096
)

// conns are the connections that there are.
type conns struct {
	mu     sync.Mutex
	open   map[net.Conn]netip.Addr // whose host that is
	hosts  map[netip.Addr]int
	closed bool
}

// take counts c, unless there are too many.
func (cs *conns) take(c net.Conn) bool {
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	host := udp.Host(peer.Addr())
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed || len(cs.open) == maxConns || cs.hosts[host] == maxConnsPerHost {
		return false
	}
	if cs.open == nil {
		cs.open, cs.hosts = make(map[net.Conn]netip.Addr), make(map[netip.Addr]int)
	}
	cs.open[c] = host
	cs.hosts[host]++
	return true
}

func (cs *conns) release(c net.Conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	host := cs.open[c]
	delete(cs.open, c)
	if cs.hosts[host]--; cs.hosts[host] == 0 {
		delete(cs.hosts, host)
	}
}

// idle returns how long a connection may be idle now.
func (cs *conns) idle() time.Duration {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.open) > maxConns/2 {
		return crowdedTime
	}
	return idleTime
}

// closeAll closes all connections, and lets none come.
func (cs *conns) closeAll() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for c := range cs.open {
		_ = c.Close()
	}
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := l.Accept()
		switch {
		case err == nil && s.conns.take(c):
			serving.Go(func() {
				defer s.conns.release(c)
				defer c.Close()
				s.serveConn(c)
			})
		case err == nil:
			_ = c.Close()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the listener was closed: %w", err)
		default: // no file descriptors, say
			s.log.Error("accepting a connection failed", "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// serveConn answers the queries of a connection, one after the other, until the client
// closes it, is too slow, or sends what is no query.
func (s *Server) serveConn(c net.Conn) {
	in := bufio.NewReaderSize(c, 2+maxTCPQuery)
	local, _ := netip.ParseAddrPort(c.LocalAddr().String())
	t := task{local: local.Addr().Unmap(), limit: 1<<16 - 1}
	var known [1]storage.Query
	var framed []byte
	for {
		_ = c.SetReadDeadline(time.Now().Add(s.conns.idle()))
		size, err := in.Peek(2)
		if err != nil {
			return
		}
		length := 2 + int(binary.BigEndian.Uint16(size))
		msg, err := in.Peek(length)
		if err != nil || !t.parse(msg[2:]) {
			return
		}
		s.answerAll([]*task{&t}, known[:])
		framed = append(binary.BigEndian.AppendUint16(framed[:0], uint16(len(t.out))), t.out...)
		_ = c.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := c.Write(framed); err != nil {
			return
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
	}
}
