package load

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"foyer"
	"foyer/wire"
)

// The numbers of flow, slot and line are part of an id, which limits them.
const (
	maxFlows  = 1 << 8
	maxWindow = 1 << 12
	maxLines  = 1 << 6
)

// A slot is one request datagram in flight.
type slot struct {
	data  []byte
	due   time.Time // when it was due to be sent
	lines int       // still unanswered; 0 for a free slot
	plain int       // of those, without an id
	round uint64    // counts its uses, so that late replies can be told
}

// A flow is a client. Its link's goroutine uses it.
type flow struct {
	*link
	number uint64
	socket int // of the link
	slots  []slot
	free   []int
	order  []int // slots in flight, oldest first, for replies without ids

	nextDue time.Time // with a rate
	gap     time.Duration
}

func (l *link) newFlow(number int) *flow {
	f := &flow{link: l, number: uint64(number), socket: len(l.flows), slots: make([]slot, l.Window)}
	for i := range f.slots {
		f.free = append(f.free, i)
	}
	if l.Rate > 0 {
		f.gap = time.Duration(float64(time.Second) * float64(l.Flows*l.Lines) / l.Rate)
		f.nextDue = l.start.Add(f.gap * time.Duration(number) / time.Duration(l.Flows))
	}
	return f
}

// send fills the free slots, as far as something is due.
func (f *flow) send(now time.Time) {
	f.out = f.out[:0]
	for len(f.free) > 0 {
		due := now
		if f.gap > 0 {
			if f.nextDue.After(now) {
				break
			}
			due = f.nextDue
			f.nextDue = f.nextDue.Add(f.gap)
		}
		i := f.free[len(f.free)-1]
		s := &f.slots[i]
		if !f.fill(s, i, now) {
			break
		}
		f.free = f.free[:len(f.free)-1]
		f.order = append(f.order, i)
		s.due = due
		f.inFlight++
		f.out = append(f.out, s.data)
	}
	if len(f.out) > 0 {
		f.sockets.Send(f.socket, f.out) // what is lost will be counted as such
	}
}

// fill writes a request datagram into a slot. It returns false when there is
// nothing left to ask.
func (f *flow) fill(s *slot, number int, now time.Time) bool {
	s.data = s.data[:0]
	s.lines, s.plain = 0, 0
	s.round++
	work := f.Work
	if work == Mixed {
		work = Lookup
		if f.rand.IntN(10) == 0 {
			work = Register
		}
	}
	for range f.Lines {
		n := f.Base + f.rand.Uint64N(f.Names)
		if work == Register || f.last > 0 {
			n = f.next.Add(1) - 1
			if f.last > 0 && n >= f.last {
				break
			}
		}
		at := len(s.data)
		if at > 0 {
			s.data = append(s.data, '\n')
		}
		id := tail(f.number, number, s.round, s.lines)
		s.data = f.appendRequest(s.data, work, n, id, now)
		s.lines++
		if work == Lookup || work == Renew {
			s.plain++
		}
	}
	return s.lines > 0
}

func (r *run) appendRequest(dst []byte, work Work, n, id uint64, now time.Time) []byte {
	switch work {
	case Lookup:
		dst = append(dst, "LOOKUP "...)
	case Renew:
		dst = append(dst, "RENEW "...)
		dst = AppendAddress(dst, n)
		dst = append(dst, ' ')
	default:
		dst = append(dst, "@id="...)
		dst = appendID(dst, uint64(now.UnixMilli()), r.process, id)
		if r.TTL > 0 && work != Clear {
			dst = append(dst, ";ttl="...)
			dst = appendDigits(dst, uint64(r.TTL/time.Second), 5)
		}
		if work == Clear {
			dst = append(dst, " DEREGISTER "...)
			break
		}
		dst = append(dst, " REGISTER "...)
		dst = AppendAddress(dst, n)
		dst = append(dst, ' ')
	}
	return AppendName(dst, n)
}

// roundMask is the part of a slot's round that fits into an id.
const roundMask = 1<<36 - 1

// tail returns the last bits of an id: 8 for the flow, 12 for the slot, 36 for
// the slot's round, 6 for the line.
func tail(flow uint64, slot int, round uint64, line int) uint64 {
	return flow<<54 | uint64(slot)<<42 | round&roundMask<<6 | uint64(line)
}

func slotOf(id foyer.ID) (slot int, round uint64) {
	t := binary.BigEndian.Uint64(id[8:])
	return int(t >> 42 & (maxWindow - 1)), t >> 6 & roundMask
}

// take counts a reply datagram. A reply with an id names its slot; one without
// belongs to the oldest slot that waits for such a one, as a registry keeps their
// order.
func (f *flow) take(data []byte, now time.Time) {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		at := f.find(line)
		if at < 0 {
			continue // of a request that was given up
		}
		s := &f.slots[f.order[at]]
		if line[0] != '@' {
			s.plain--
		}
		f.answered++
		if line[0] != 'O' {
			f.refuse(line)
		}
		if s.lines--; s.lines == 0 {
			_ = f.latency.RecordValue(max(1, int64(now.Sub(s.due)/LatencyUnit)))
			f.inFlight--
			f.free = append(f.free, f.order[at])
			f.order = append(f.order[:at], f.order[at+1:]...)
		}
	}
}

// find returns where in f.order the slot is that the reply belongs to, or -1.
func (f *flow) find(line []byte) int {
	if line[0] != '@' {
		return slices.IndexFunc(f.order, func(i int) bool { return f.slots[i].plain > 0 })
	}
	t, _, err := wire.ParseTags(line)
	if err != nil || t.ID == nil {
		return -1
	}
	number, round := slotOf(t.UUID)
	if number >= len(f.slots) || f.slots[number].round&roundMask != round {
		return -1
	}
	return slices.Index(f.order, number)
}

func (l *link) refuse(line []byte) {
	r, err := wire.ParseReply(line)
	if err == nil && !r.OK {
		l.refused[foyer.Code(r.Code)]++
	}
}

// giveUp frees slots that have waited too long.
func (f *flow) giveUp(now time.Time) {
	kept := f.order[:0]
	for _, i := range f.order {
		s := &f.slots[i]
		if now.Sub(s.due) < lossTimeout {
			kept = append(kept, i)
			continue
		}
		f.lost += uint64(s.lines)
		s.lines = 0
		f.inFlight--
		f.free = append(f.free, i)
	}
	f.order = kept
}
