package bolt

import (
	"iter"
	"slices"
	"strings"

	"foyer/storage"
)

// A pendingName is a name that the log has changed since it was last folded
// into the bucket of rooms: what a fold has to add to its record. The name's
// registration is not here but in the index.
type pendingName struct {
	name     string
	position uint64   // of the last group that changed it
	ending   uint64   // its place among those that ended in that group
	events   [][]byte // to be remembered, oldest first; no more than HistoryPerName
	forget   bool     // what the record remembers is to be dropped
	known    bool     // the log says whether it is registered, not the record; see overlay
}

func (p *pendingName) remember(event []byte) {
	if len(p.events) == storage.HistoryPerName {
		p.events = slices.Delete(p.events, 0, 1)
	}
	p.events = append(p.events, event)
}

// forgetAt drops what was remembered up to the group at position.
func (p *pendingName) forgetAt(position uint64) {
	p.position, p.forget, p.events = position, true, nil
}

// forgotten reports whether nothing at all is remembered of it.
func (p *pendingName) forgotten() bool { return p.forget && len(p.events) == 0 }

// historyAfter returns the encoded events of a name of which the record holds
// those given.
func (p *pendingName) historyAfter(recorded [][]byte) [][]byte {
	if p.forget {
		recorded = nil
	}
	if len(recorded) == 0 {
		return p.events
	}
	all := slices.Concat(recorded, p.events)
	return all[max(0, len(all)-storage.HistoryPerName):]
}

// pendingNames are the names that are still to be folded. They are kept in parts
// by ranges of names, unsorted within a part: a sweep takes part after part in
// the order of names, so that names which share a page of the bucket of rooms
// are folded together. Sorting one part at a time keeps every step short.
//
// Their number is bounded by the pace of the fold, see folder.
type pendingNames struct {
	byName map[string]*pendingName
	parts  []part // ascending; the first begins with the empty name

	swept []*pendingName // what is left of the parts that the sweep is in, sorted
	next  string         // where the part after it begins
	over  bool           // there is no part after it

	spare []*pendingName // to be used again; no more than maxSpare
}

type part struct {
	from  string
	names []*pendingName
}

// partSize is the number of names at which a part is split in two.
const partSize = 512

// maxSpare is more than an Update folds.
const maxSpare = 1 << 12

func newPendingNames() *pendingNames {
	return &pendingNames{byName: map[string]*pendingName{}, parts: make([]part, 1)}
}

func (n *pendingNames) len() int { return len(n.byName) }

// touch returns the pending name of that name, a new one if there is none.
// It keeps name.
func (n *pendingNames) touch(name string) *pendingName {
	p := n.byName[name]
	if p != nil {
		return p
	}
	if last := len(n.spare) - 1; last >= 0 {
		p, n.spare = n.spare[last], n.spare[:last]
	} else {
		p = new(pendingName)
	}
	p.name = name
	n.byName[name] = p
	i := n.partOf(name)
	n.parts[i].names = append(n.parts[i].names, p)
	if len(n.parts[i].names) >= partSize {
		n.split(i)
	}
	return p
}

// partOf returns the index of the part that a name belongs to.
func (n *pendingNames) partOf(name string) int {
	i, found := slices.BinarySearchFunc(n.parts, name, func(p part, name string) int { return strings.Compare(p.from, name) })
	if found {
		return i
	}
	return i - 1
}

func sortPending(names []*pendingName) {
	slices.SortFunc(names, func(a, b *pendingName) int { return strings.Compare(a.name, b.name) })
}

func (n *pendingNames) split(i int) {
	names := n.parts[i].names
	sortPending(names)
	half := len(names) / 2
	n.parts[i].names = names[:half:half]
	n.parts = slices.Insert(n.parts, i+1, part{names[half].name, slices.Clone(names[half:])})
}

// take returns the next names of the sweep, in ascending order and no more than
// limit. They stay pending until done is called, and are returned again if it
// is not. When there are none the sweep is over.
func (n *pendingNames) take(limit int) []*pendingName {
	for len(n.swept) < limit && !n.over {
		i := n.partOf(n.next)
		sortPending(n.parts[i].names)
		n.swept = append(n.swept, n.parts[i].names...)
		n.parts[i].names = nil
		if n.over = i+1 == len(n.parts); n.over {
			break
		}
		n.next = n.parts[i+1].from
		// When there are far more parts than names to fill them, the empty
		// ones are given up on the way.
		if i > 0 && len(n.parts[i-1].names) == 0 && len(n.parts) > 16+4*len(n.byName)/partSize {
			n.parts = slices.Delete(n.parts, i, i+1)
		}
	}
	return n.swept[:min(limit, len(n.swept))]
}

// endsWith reports whether the n names that take has just returned are the last
// ones of the sweep.
func (n *pendingNames) endsWith(names int) bool { return n.over && names == len(n.swept) }

// done removes the names that take has just returned, which nobody may look at
// any more. After the last ones of a
// sweep the next take begins another.
func (n *pendingNames) done(names []*pendingName, last bool) {
	for _, p := range names {
		delete(n.byName, p.name)
		if len(n.spare) < maxSpare {
			clear(p.events)
			*p = pendingName{events: p.events[:0]}
			n.spare = append(n.spare, p)
		}
	}
	clear(n.swept[:len(names)])
	n.swept = n.swept[len(names):]
	if last {
		n.over, n.next = false, ""
	}
}

// after returns the pending names greater than name, in ascending order.
func (n *pendingNames) after(name string) iter.Seq[*pendingName] {
	return func(yield func(*pendingName) bool) {
		swept := n.swept
		for i := n.partOf(name); i < len(n.parts); i++ {
			names := slices.Clone(n.parts[i].names)
			for len(swept) > 0 && (i+1 == len(n.parts) || swept[0].name < n.parts[i+1].from) {
				names = append(names, swept[0])
				swept = swept[1:]
			}
			sortPending(names)
			for _, p := range names {
				if p.name > name && !yield(p) {
					return
				}
			}
		}
	}
}
