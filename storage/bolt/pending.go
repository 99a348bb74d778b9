package bolt

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"foyer"
	"foyer/storage"
)

// A pendingEvent is one thing that the log says of a name and the bucket of
// rooms does not yet: where it stands among the pendingEvents.
type pendingEvent struct{ block, offset uint32 }

// pendingEvents are all of them. They are kept in parts by ranges of names,
// unsorted within a part: a sweep takes part after part in the order of names,
// so that names which share a page of the bucket of rooms are folded together.
// Sorting one part at a time keeps every step short.
//
// What there is of them for the garbage collector is one pointer for each group
// of the log. Their number is bounded by the pace of the fold, see pace; each
// takes 8 bytes and its encoding, some 70.
type pendingEvents struct {
	blocks []pendingBlock // by number
	free   []uint32       // numbers that are not in use
	n      int            // events
	parts  []part         // ascending; the first begins with the empty name

	swept []pendingEvent // what is left of the parts that the sweep is in, sorted
	next  string         // where the part after it begins
	over  bool           // there is no part after it
}

// A pendingBlock is what one group had to say, and is let go of as a whole.
//
//	text name | uvarint ending | event, or 0 if what was remembered of the name is forgotten
type pendingBlock struct {
	position uint64 // of the group
	bytes    []byte
	left     int // events of it that are still to be folded
}

type part struct {
	from   string
	events []pendingEvent
	split  int // how many events there are when it is split in two
}

// partSize is the number of events at which a part is split in two.
const partSize = 2048

func newPendingEvents() *pendingEvents {
	return &pendingEvents{parts: []part{{split: partSize}}}
}

func (n *pendingEvents) len() int { return n.n }

// begin returns the number of a new block, for the group at a position, to
// which at least one event is to be added.
func (n *pendingEvents) begin(position uint64, size int) (block uint32) {
	b := pendingBlock{position: position, bytes: make([]byte, 0, size)}
	if last := len(n.free) - 1; last >= 0 {
		block, n.free = n.free[last], n.free[:last]
		n.blocks[block] = b
		return block
	}
	n.blocks = append(n.blocks, b)
	return uint32(len(n.blocks) - 1)
}

// add adds an event to a block. ending is its place among the endings of the
// group, if it is one.
func (n *pendingEvents) add(block uint32, name string, ending uint64, event []byte) {
	b := &n.blocks[block]
	e := pendingEvent{block, uint32(len(b.bytes))}
	b.bytes = binary.AppendUvarint(appendText(b.bytes, name), ending)
	b.bytes = append(b.bytes, event...)
	b.left++
	n.n++
	i := n.partOf(name)
	p := &n.parts[i]
	p.events = append(p.events, e)
	if len(p.events) >= p.split {
		n.split(i)
	}
}

// forget adds that what was remembered of a name is forgotten.
func (n *pendingEvents) forget(block uint32, name string) { n.add(block, name, 0, []byte{0}) }

// name returns a view.
func (n *pendingEvents) name(e pendingEvent) string {
	b := n.blocks[e.block].bytes[e.offset:]
	return viewString(b[1 : 1+b[0]])
}

// partOf returns the index of the part that a name belongs to.
func (n *pendingEvents) partOf(name string) int {
	i, found := slices.BinarySearchFunc(n.parts, name, func(p part, name string) int { return strings.Compare(p.from, name) })
	if found {
		return i
	}
	return i - 1
}

// sort sorts by name, and what is of one name by time.
//
// Names lie scattered, so most comparisons make do with a copy of the eight bytes
// that follow on what all of them begin with.
func (n *pendingEvents) sort(events []pendingEvent) {
	type keyed struct {
		key uint64
		pendingEvent
	}
	if len(events) < 2 {
		return
	}
	sorted := make([]keyed, len(events)) // a part
	prefix := n.name(events[0])
	for _, e := range events {
		prefix = prefix[:commonPrefix(prefix, n.name(e))]
	}
	for i, e := range events {
		var key [8]byte
		copy(key[:], n.name(e)[len(prefix):])
		sorted[i] = keyed{binary.BigEndian.Uint64(key[:]), e}
	}
	slices.SortFunc(sorted, func(a, b keyed) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		if c := strings.Compare(n.name(a.pendingEvent), n.name(b.pendingEvent)); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(n.blocks[a.block].position, n.blocks[b.block].position), cmp.Compare(a.offset, b.offset))
	})
	for i := range sorted {
		events[i] = sorted[i].pendingEvent
	}
}

// commonPrefix returns how many bytes a and b have in common at their beginning.
func commonPrefix(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// split splits a part in two. What is of one name stays together.
func (n *pendingEvents) split(i int) {
	events := n.parts[i].events
	n.sort(events)
	half := n.endOfName(events, len(events)/2)
	if half == len(events) {
		n.parts[i].split *= 2
		return
	}
	n.parts[i].events, n.parts[i].split = events[:half:half], max(partSize, 2*half)
	second := part{strings.Clone(n.name(events[half])), slices.Clone(events[half:]), partSize}
	n.parts = slices.Insert(n.parts, i+1, second)
}

// endOfName returns end, or more if the sorted events around there are of one
// name.
func (n *pendingEvents) endOfName(events []pendingEvent, end int) int {
	for end > 0 && end < len(events) && n.name(events[end-1]) == n.name(events[end]) {
		end++
	}
	return end
}

// take returns the next events of the sweep, sorted, and no more than limit but
// for those of the last name. They stay pending until done is called, and are
// returned again if it is not. When there are none the sweep is over.
func (n *pendingEvents) take(limit int) []pendingEvent {
	for len(n.swept) < limit && !n.over {
		i := n.partOf(n.next)
		p := &n.parts[i]
		n.sort(p.events)
		n.swept = append(n.swept, p.events...)
		p.events, p.split = nil, partSize
		if n.over = i+1 == len(n.parts); n.over {
			break
		}
		n.next = n.parts[i+1].from
		// When there are far more parts than events to fill them, the empty
		// ones are given up on the way.
		if i > 0 && len(n.parts[i-1].events) == 0 && len(n.parts) > 16+4*n.n/partSize {
			n.parts = slices.Delete(n.parts, i, i+1)
		}
	}
	return n.swept[:n.endOfName(n.swept, min(limit, len(n.swept)))]
}

// endsWith reports whether the events that take has just returned are the last
// ones of the sweep.
func (n *pendingEvents) endsWith(events int) bool { return n.over && events == len(n.swept) }

// done removes the events that take has just returned. After the last ones of a
// sweep the next take begins another.
func (n *pendingEvents) done(events []pendingEvent, last bool) {
	for _, e := range events {
		b := &n.blocks[e.block]
		if b.left--; b.left == 0 {
			*b = pendingBlock{}
			n.free = append(n.free, e.block)
		}
	}
	n.n -= len(events)
	n.swept = n.swept[len(events):]
	if last {
		n.over, n.next = false, ""
	}
}

// after returns the pending names greater than name, in ascending order.
func (n *pendingEvents) after(name string) iter.Seq[*pendingName] {
	return func(yield func(*pendingName) bool) {
		swept := n.swept
		for i := n.partOf(name); i < len(n.parts); i++ {
			events := slices.Clone(n.parts[i].events)
			for len(swept) > 0 && (i+1 == len(n.parts) || n.name(swept[0]) < n.parts[i+1].from) {
				events = append(events, swept[0])
				swept = swept[1:]
			}
			n.sort(events)
			for len(events) > 0 {
				end := n.endOfName(events, 1)
				if p := n.merge(nil, events[:end], 0); p.name > name && !yield(p) {
					return
				}
				events = events[end:]
			}
		}
	}
}

// get returns what groups behind a position have to say of a name, or nil.
func (n *pendingEvents) get(name string, position uint64) *pendingName {
	first, _ := slices.BinarySearchFunc(n.swept, name, func(e pendingEvent, name string) int { return strings.Compare(n.name(e), name) })
	var events []pendingEvent
	for _, e := range n.swept[first:] {
		if n.name(e) != name {
			break
		}
		events = append(events, e)
	}
	// Later than those, and in the order of time: whatever else is sorted about a
	// part, what is of one name stays so.
	for _, e := range n.parts[n.partOf(name)].events {
		if n.name(e) == name {
			events = append(events, e)
		}
	}
	return n.merge(nil, events, position)
}

// A pendingName is what some pending events say of one name.
type pendingName struct {
	name     string
	position uint64 // of the last group that changed it
	ending   uint64 // its place among those that ended in that group
	forget   bool   // what its record remembers is to be dropped
	known    bool   // whether it is registered does not depend on its record
	current  foyer.Registration
	history  [][]byte // events to be remembered, oldest first
}

// merge makes p, or a new one if that is nil, of those of a name's events that
// are of groups behind a position. It returns nil if there are none. All that it
// returns are views.
func (n *pendingEvents) merge(p *pendingName, events []pendingEvent, position uint64) *pendingName {
	if p == nil {
		p = new(pendingName)
	}
	*p = pendingName{history: p.history[:0]}
	for _, e := range events {
		b := &n.blocks[e.block]
		if b.position <= position {
			continue
		}
		p.position = b.position
		d := decoder{b: b.bytes[e.offset:]}
		p.name = d.text()
		ending := d.uvarint()
		if d.b[0] == 0 {
			p.forget, p.history = true, p.history[:0]
			continue
		}
		before := d.b
		event := d.event(p.name)
		if event.Kind.Remembered() {
			p.history = append(p.history, before[:len(before)-len(d.b)])
		}
		switch {
		case event.Kind <= storage.Extended:
			p.known, p.current = true, event.Registration
		case event.Kind.Ends():
			p.known, p.current, p.ending = true, foyer.Registration{}, ending
		}
	}
	if p.position == 0 {
		return nil
	}
	return p
}

// registered reports whether the name is registered, if that is known.
func (p *pendingName) registered() bool { return p.current.Address != "" }

// forgotten reports whether nothing at all is remembered of it.
func (p *pendingName) forgotten() bool { return p.forget && len(p.history) == 0 }

// historyAfter returns the encoded events of a name of which the record holds
// those given.
func (p *pendingName) historyAfter(recorded [][]byte) [][]byte {
	all := p.history
	if !p.forget && len(recorded) > 0 {
		all = slices.Concat(recorded, p.history)
	}
	return all[max(0, len(all)-storage.HistoryPerName):]
}
