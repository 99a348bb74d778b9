package engine

import (
	"iter"
	"slices"
	"strings"
)

// endedNames are the names that are not registered but have a history, in the order in which they ended. Update forgets
// the first of them when there are more than storage.HistoryNames, which bounds it; at most half of the queue is out of
// date.
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
