package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"foyer/internal/udp"
)

// An intake takes datagrams in from one socket. Its reader and the writer do it in
// turns.
type intake struct {
	*Server
	conn  udp.Conn
	meter *meter

	// mu guards what follows. Whoever takes a batch in holds it until what is for
	// the writer is in its queue or its group, so that what one peer sends is carried
	// out in the order in which it came. The reader keeps it when it ends.
	mu        sync.Mutex
	in        [udp.BatchSize]udp.Datagram // received into the memory of
	batch     [udp.BatchSize]*exchange    // these
	forWriter []*exchange
	answered  []*exchange
	out       []udp.Datagram // replies; grows to what a batch leads to
	first     lookups        // the lines that the datagrams of a batch begin with,
	further   lookups        // and further lines of one
}

func (s *Server) newIntake(c udp.Conn) *intake {
	t := &intake{Server: s, conn: c, meter: s.newMeter()}
	for i := range t.batch {
		t.refill(i)
	}
	return t
}

// refill replaces an exchange of the batch by one that nobody has.
func (t *intake) refill(i int) {
	x := t.exchanges.Get().(*exchange)
	x.conn = t.conn
	t.batch[i], t.in[i].Data = x, x.data[:]
}

// readLoop takes batches in until ctx ends. Then nothing more is taken in, nor by
// the writer: what is in the queues is all that there is to answer.
func (t *intake) readLoop(ctx context.Context) error {
	defer t.mu.Lock() // for good
	for looks := 0; ctx.Err() == nil; looks++ {
		n, err := t.readBatch()
		if n > 0 {
			looks = 0
			continue
		}
		if err == nil && looks < spins && !t.writing.Load() {
			runtime.Gosched() // whoever else has work goes first
			continue
		}
		if err == nil {
			looks = 0
			err = t.conn.Wait()
		}
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the socket was closed: %w", err)
		default:
			t.log.Error("receiving failed", "err", err)
			select { // a failure that stays must not fill the log
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// readBatch takes a batch in and passes what is for the writer on to it. It returns
// how many datagrams that was.
func (t *intake) readBatch() (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, forWriter, err := t.takeIn()
	refused := forWriter[:0]
	for _, x := range forWriter {
		if !t.enqueue(x, &t.further) {
			refused = append(refused, x)
		}
	}
	t.out = t.reply(t.meter, t.out, refused...)
	return n, err
}

// takeIn takes in a batch of what has arrived, without waiting, and answers from
// memory what it can. It returns how many datagrams that was, and those that go on to
// the writer, in memory of its own; others go on to a verifier.
func (t *intake) takeIn() (n int, forWriter []*exchange, err error) {
	t.out, t.answered, t.forWriter = t.out[:0], t.answered[:0], t.forWriter[:0]
	if n, err = t.conn.Poll(t.in[:]); n == 0 {
		return 0, nil, err
	}
	received := t.since()
	for i := range n {
		t.batch[i].begin(&t.in[i])
		t.batch[i].received = received
	}
	for start := 0; start < n; start += stepLength {
		xs := t.batch[start:min(start+stepLength, n)]
		for _, x := range xs {
			x.read(stepLength / len(xs))
		}
		t.first.find(t.store, xs...)
		for i, x := range xs {
			if t.answerKnown(x) && t.answer(x, &t.further) || !t.passOn(x) {
				t.out = x.datagrams(t.out)
				t.answered = append(t.answered, x)
			} else {
				t.refill(start + i)
			}
		}
	}
	if len(t.out) > 0 {
		_ = t.conn.Send(t.out)
	}
	t.meter.note(n, len(t.out), t.answered, t.since())
	return n, t.forWriter, err
}

// passOn gives x, which cannot be answered from memory, to a verifier or puts it
// with those for the writer; or it refuses it, and returns false.
func (t *intake) passOn(x *exchange) bool {
	if !t.shares.take(x.peer.Addr()) {
		t.dropped[sourceShareUsed].Add(1)
		t.refuseRest(x, &t.further, busySource)
		return false
	}
	if !x.needsVerifier() {
		t.forWriter = append(t.forWriter, x)
		return true
	}
	select {
	case t.toVerify <- x:
		return true
	default:
		t.shares.release(x.peer.Addr())
		t.dropped[verifyQueueFull].Add(1)
		t.refuseRest(x, &t.further, busyQueue)
		return false
	}
}

// enqueue puts x into the writer's queue, or refuses it and returns false.
func (s *Server) enqueue(x *exchange, l *lookups) bool {
	select {
	case s.toWrite <- x:
		return true
	default:
		s.dropped[writeQueueFull].Add(1)
		s.refuseRest(x, l, busyQueue)
		return false
	}
}

// reply sends the replies of exchanges that were passed on, those of one socket
// together: 64 of them are one system call. Here the exchanges end, and m notes them.
// It returns out, which is memory to work with.
func (s *Server) reply(m *meter, out []udp.Datagram, xs ...*exchange) []udp.Datagram {
	for len(xs) > 0 {
		conn, n := xs[0].conn, 0
		out = out[:0]
		for n < len(xs) && xs[n].conn == conn {
			out = xs[n].datagrams(out)
			n++
		}
		if len(out) > 0 {
			_ = conn.Send(out)
		}
		m.note(0, len(out), xs[:n], s.since())
		for _, x := range xs[:n] {
			s.shares.release(x.peer.Addr())
			s.exchanges.Put(x)
		}
		xs = xs[n:]
	}
	return out
}
