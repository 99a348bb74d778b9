package engine

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// An order holds where the entries of all names are, in parts by ranges of names, unsorted within a part. List sorts the
// few parts that it reads; the snapshot has a piece for each part.
//
// It takes 8 to 16 bytes for an entry, and some 100 for a part, of which there is one for some 100 entries.
type order struct {
	arena *arena
	most  int     // entries of a part, at which it is split in two
	n     int     // entries
	parts []*part // ascending; the first begins with the empty name
}

// A part is the names from one on up to where the next part begins.
type part struct {
	from string
	refs []ref

	// What the snapshot has of it, see there.
	written bool   // there is a piece with the key from
	dirty   bool   // the piece is not up to date
	sum     uint32 // the checksum of the piece
}

func (o *order) at(name string) int {
	return sort.Search(len(o.parts), func(i int) bool { return o.parts[i].from > name }) - 1
}

// put notes that the entry of a name is at r instead of old. Either is 0 if there is none.
func (o *order) put(name string, old, r ref) {
	i := o.at(name)
	p := o.parts[i]
	p.dirty = true
	switch {
	case old == 0:
		p.refs = append(p.refs, r)
		o.n++
	case r == 0:
		p.refs = slices.DeleteFunc(p.refs, func(r ref) bool { return r == old })
		o.n--
	default:
		p.refs[slices.Index(p.refs, old)] = r
	}
	if len(p.refs) >= o.most {
		o.split(i)
	}
}

func (o *order) name(r ref) string { return o.arena.entry(r).name() }

func (o *order) sort(refs []ref) {
	slices.SortFunc(refs, func(a, b ref) int { return strings.Compare(o.name(a), o.name(b)) })
}

func (o *order) split(i int) {
	p := o.parts[i]
	o.sort(p.refs)
	half := len(p.refs) / 2
	second := &part{from: strings.Clone(o.name(p.refs[half])), refs: slices.Clone(p.refs[half:]), dirty: true}
	p.refs = p.refs[:half]
	o.parts = slices.Insert(o.parts, i+1, second)
}

func (o *order) join(p, next *part) {
	p.refs = append(p.refs, next.refs...)
	i := slices.Index(o.parts, next)
	o.parts = slices.Delete(o.parts, i, i+1)
}

// after yields the entries of the names greater than one, in ascending order.
func (o *order) after(name string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, p := range o.parts[o.at(name):] {
			refs := slices.Clone(p.refs)
			o.sort(refs)
			for _, r := range refs {
				if e := o.arena.entry(r); e.name() > name && !yield(e) {
					return
				}
			}
		}
	}
}

// all yields every entry and where it is, in no order.
func (o *order) all(yield func(ref, *entry) bool) {
	for _, p := range o.parts {
		for _, r := range p.refs {
			if !yield(r, o.arena.entry(r)) {
				return
			}
		}
	}
}

// endedNames are the names that are not registered but have a history, in the order in which they ended. Update forgets the
// first of them when there are more than storage.HistoryNames, which bounds it; at most half of the queue is out of date.
type endedNames struct {
	n     int // names
	queue []endedName
}

type endedName struct {
	name string
	endOrder
}

// current reports whether the name has not changed since.
func (n *endedName) current(names *index) bool {
	e := names.find(n.name)
	return e.isEnded() && e.endOrder() == n.endOrder
}

// change notes that the entry of a name was old and is e now.
func (q *endedNames) change(old, e *entry) {
	if old.isEnded() {
		q.n--
	}
	if e.isEnded() {
		q.n++
		if !old.isEnded() || old.endOrder() != e.endOrder() {
			q.queue = append(q.queue, endedName{strings.Clone(e.name()), e.endOrder()})
		}
	}
}

// all yields the names, the one that ended longest ago first.
func (q *endedNames) all(names *index) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range q.queue {
			if n := &q.queue[i]; n.current(names) && !yield(n.name) {
				return
			}
		}
	}
}

// trim lets go of what is out of date at the front, or everywhere if that is more than half.
func (q *endedNames) trim(names *index) {
	for len(q.queue) > 0 && !q.queue[0].current(names) {
		q.queue = q.queue[1:]
	}
	if len(q.queue) > 2*q.n+16 {
		q.queue = slices.DeleteFunc(q.queue, func(n endedName) bool { return !n.current(names) })
	}
}

func sortEnded(queue []endedName) {
	slices.SortFunc(queue, func(a, b endedName) int { return a.compare(b.endOrder) })
}
