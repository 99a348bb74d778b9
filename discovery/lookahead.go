package discovery

import (
	"foyer/storage"
	"foyer/wire"
)

// lookaheadLength is how many lines are read ahead at most. Among a million
// names, 16 that are looked up together cost a third of what they cost one by
// one, and 64 cost no less (go test -bench FindAll ./storage/bolt).
const lookaheadLength = 16

// A lookahead holds lines that have been read before the first of them is
// answered, so that the store is asked for all their names at once. It is the
// memory of one goroutine, of some 9 KiB, from datagram to datagram; the
// answers that are left in it may each keep a mebibyte of the store's, see Find
// in storage/bolt.
type lookahead struct {
	lines   [lookaheadLength]lineAhead
	queries [lookaheadLength]storage.Query
	n       int // lines that were read
	asked   int // of them, those with a query
}

// A lineAhead is a line that has been read and not yet been answered.
type lineAhead struct {
	request
	err        error          // why it cannot be read
	start, end int            // where it is in the datagram
	query      *storage.Query // what is known of its name, if it is a LOOKUP or a RENEW
}

// read returns the next lines of x, none at its end, without moving on.
func (a *lookahead) read(x *exchange, store storage.Store) []lineAhead {
	a.n, a.asked = 0, 0
	lines := a.add(x, lookaheadLength)
	store.FindAll(a.queries[:a.asked])
	return lines
}

// readEach is read for several exchanges, lookaheadLength at most, which share
// the memory. It writes the lines of each to ahead.
func (a *lookahead) readEach(xs []exchange, ahead *[lookaheadLength][]lineAhead, store storage.Store) {
	a.n, a.asked = 0, 0
	for i := range xs {
		ahead[i] = a.add(&xs[i], lookaheadLength/len(xs))
	}
	store.FindAll(a.queries[:a.asked])
}

// add adds up to limit lines of x and returns them. A line that is neither
// LOOKUP nor RENEW is the last: most likely that one is for the writer, and then
// those behind it are as well.
func (a *lookahead) add(x *exchange, limit int) []lineAhead {
	first := a.n
	for rest := x.lines; a.n < first+limit; {
		line, end, more := rest.next()
		if !more {
			break
		}
		l := &a.lines[a.n]
		a.n++
		l.start, l.end = rest.pos, end
		rest.pos = end
		if l.err = l.parse(line); l.err != nil || l.Verb != wire.Lookup && l.Verb != wire.Renew {
			break
		}
		l.query = &a.queries[a.asked]
		l.query.Name = l.name
		a.asked++
	}
	return a.lines[first:a.n]
}
