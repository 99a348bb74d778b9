package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"foyer"
	"foyer/internal/udp"
)

// A link is some flows, their sockets and the goroutine that uses them.
type link struct {
	*run
	sockets sockets
	flows   []*flow // flow i has socket i
	rand    *rand.Rand

	out      [][]byte  // what a flow sends
	inFlight int       // datagrams of all flows
	ending   bool      // no more is asked
	swept    time.Time // when giveUp was last called

	answered, lost uint64
	refused        map[foyer.Code]uint64
	latency        *hdrhistogram.Histogram
	err            error
}

// sockets are connected to the registry. Send sends datagrams through socket i;
// what cannot be sent is lost. Receive waits, at most so long, until something
// arrives, and hands on what each socket has, which is valid during the call.
type sockets interface {
	Send(i int, requests [][]byte)
	Receive(wait time.Duration, take func(i int, data [][]byte)) error
	Close() error
}

// open opens the links of a run: one for each processor where one goroutine can
// use many sockets, or else one for each flow.
func (r *run) open() (links []*link, err error) {
	n, shared := r.Flows, canShare && r.Rate == 0 // epoll waits for whole milliseconds
	if shared {
		n = min(n, runtime.GOMAXPROCS(0))
	}
	for i := range n {
		l := &link{
			run: r, rand: rand.New(rand.NewPCG(r.Seed, uint64(i))),
			refused: map[foyer.Code]uint64{}, latency: newHistogram(),
		}
		for number := i; number < r.Flows; number += n {
			l.flows = append(l.flows, l.newFlow(number))
		}
		if shared {
			l.sockets, err = openShared(r.Target, len(l.flows), r.Window)
		} else {
			l.sockets, err = openSingle(r.Target)
		}
		if err != nil {
			for _, l := range links {
				l.sockets.Close()
			}
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

func (l *link) loop(ctx context.Context) {
	for {
		now := time.Now()
		if ctx.Err() != nil || l.last > 0 && l.next.Load() >= l.last {
			l.ending = true
		}
		if !l.ending {
			for _, f := range l.flows {
				f.send(now)
			}
		}
		if l.ending && l.inFlight == 0 {
			return
		}
		if l.last > 0 && now.Sub(l.start)-time.Duration(l.heard.Load()) > silence {
			l.err = l.noAnswer()
			return
		}
		before := l.answered
		if l.err = l.sockets.Receive(l.wait(now), l.take); l.err != nil {
			return
		}
		if l.answered > before {
			l.done.Add(l.answered - before)
			l.heard.Store(int64(time.Since(l.start)))
		}
		if now.Sub(l.swept) > lossTimeout/8 {
			l.swept = now
			for _, f := range l.flows {
				f.giveUp(now)
			}
		}
	}
}

// take gives replies to their flow, which sends its next requests.
func (l *link) take(i int, replies [][]byte) {
	f, now := l.flows[i], time.Now()
	for _, data := range replies {
		f.take(data, now)
	}
	if !l.ending {
		f.send(now)
	}
}

// wait says how long to wait for replies.
func (l *link) wait(now time.Time) time.Duration {
	d := lossTimeout / 4
	for _, f := range l.flows {
		if f.gap > 0 && !l.ending && len(f.free) > 0 {
			d = min(d, f.nextDue.Sub(now))
		}
	}
	return d
}

// single is one socket of any system, for which Go's scheduler waits.
type single struct {
	conn    udp.Conn
	target  netip.AddrPort
	in, out []udp.Datagram
	data    [][]byte
}

func openSingle(target netip.AddrPort) (sockets, error) {
	local := "0.0.0.0:0"
	if target.Addr().Is6() {
		local = "[::]:0"
	}
	if target.Addr().IsLoopback() {
		local = netip.AddrPortFrom(target.Addr(), 0).String()
	}
	conn, err := udp.Listen(local)
	if err != nil {
		return nil, err
	}
	s := &single{conn: conn, target: target, in: make([]udp.Datagram, udp.BatchSize)}
	for i := range s.in {
		s.in[i].Data = make([]byte, 2048)
	}
	return s, nil
}

func (s *single) Send(_ int, requests [][]byte) {
	s.out = s.out[:0]
	for _, r := range requests {
		s.out = append(s.out, udp.Datagram{Data: r, Peer: s.target})
	}
	_ = s.conn.Send(s.out)
}

func (s *single) Receive(wait time.Duration, take func(i int, data [][]byte)) error {
	_ = s.conn.SetReadDeadline(time.Now().Add(wait))
	n, err := udp.Receive(s.conn, s.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	s.data = s.data[:0]
	for _, d := range s.in[:n] {
		s.data = append(s.data, d.Data)
	}
	take(0, s.data)
	return nil
}

func (s *single) Close() error { return s.conn.Close() }
