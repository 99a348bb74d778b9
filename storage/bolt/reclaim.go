package bolt

// Reclaiming: a chunk of entries of which less than half is in use is emptied,
// by writing what is in use again elsewhere, and dropped. Each Update does a
// part of it, in proportion to what the one before it wrote, so that none
// stalls and chunks are emptied twice as fast as they can fill with what is of
// no use.

const (
	// reclaimPerEvent and reclaimMin say how many entries an Update looks at.
	// If half of them are in use, two lead to one that is not.
	reclaimPerEvent = 4
	reclaimMin      = 64
)

// A reclaimer is the place in the chunk that is being emptied.
type reclaimer struct {
	chunk  *chunk // nil if there is none
	number int
	offset int // of the next entry to look at
}

// use notes that the index of names leads to the entry at r now.
func (s *Store) use(r ref) { s.arena.live[r.number()] += s.arena.entry(r).size() }

// disuse notes that it does not any more. r may be 0.
func (s *Store) disuse(r ref) {
	if r != 0 {
		s.arena.live[r.number()] -= s.arena.entry(r).size()
	}
}

// reclaim looks at up to limit entries of chunks of which little is in use. No
// Update may be under way: its entries are in use before the index says so.
func (s *Store) reclaim(limit int) {
	r := &s.reclaimer
	if r.chunk == nil && !s.chooseChunk() {
		return
	}
	// Whoever still looks into the overlay, which nobody keeps up to date any
	// more, holds mu.
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; limit > 0; limit-- {
		if s.arena.live[r.number] == 0 {
			s.arena.drop(r.number)
			if !s.chooseChunk() {
				return
			}
			continue
		}
		e := r.chunk.entry(r.offset)
		at := newRef(r.number, r.offset)
		r.offset += e.size()
		if found, _ := s.names.lookup(e.name()); found == at {
			moved, e := s.entries.copy(e)
			s.disuse(s.names.put(moved, e))
			s.addresses.put(moved, e)
			s.use(moved)
		}
	}
}

// chooseChunk finds the chunk of which the least is in use, and reports whether
// it is to be emptied.
func (s *Store) chooseChunk() bool {
	s.reclaimer = reclaimer{}
	best := -1
	for number, live := range s.arena.live {
		if live != dropped && live < chunkSize/2 && number != s.entries.number &&
			(best < 0 || live < s.arena.live[best]) {
			best = number
		}
	}
	if best < 0 {
		return false
	}
	s.reclaimer = reclaimer{s.arena.chunk(best), best, chunkStart}
	return true
}
