package bolt

// endedNames are the names that are not registered but have a history, in the
// order in which they ended. Update forgets the first of them when there are
// more than HistoryNames, which bounds it; of the queue, whose entries may be
// out of date, at most half are.
type endedNames struct {
	turn  map[string]uint64 // when the name ended, counted from the first
	queue []endedName
	turns uint64
}

type endedName struct {
	name string
	turn uint64
}

func newEndedNames() *endedNames { return &endedNames{turn: map[string]uint64{}} }

// add puts a name at the end. It keeps name.
func (n *endedNames) add(name string) {
	n.turns++
	n.turn[name] = n.turns
	n.queue = append(n.queue, endedName{name, n.turns})
	if len(n.queue) > 2*len(n.turn)+16 {
		kept := n.queue[:0]
		for _, e := range n.queue {
			if n.current(e) {
				kept = append(kept, e)
			}
		}
		clear(n.queue[len(kept):])
		n.queue = kept
	}
}

func (n *endedNames) remove(name string) { delete(n.turn, name) }

func (n *endedNames) has(name string) bool { return n.turn[name] != 0 }

func (n *endedNames) current(e endedName) bool { return n.turn[e.name] == e.turn }

// all calls yield for the names, the one that ended longest ago first.
func (n *endedNames) all(yield func(string) bool) {
	for _, e := range n.queue {
		if n.current(e) && !yield(e.name) {
			return
		}
	}
}

// trim lets go of what is out of date at the front of the queue.
func (n *endedNames) trim() {
	for len(n.queue) > 0 && !n.current(n.queue[0]) {
		n.queue[0] = endedName{}
		n.queue = n.queue[1:]
	}
}
