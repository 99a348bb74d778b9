package bolt

import (
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// A nameLoader collects the entries of one goroutine's share of the records,
// apart by halves of the index, so that the index can be filled by as many.
type nameLoader struct {
	index   *index
	entries [shardCount][]hashedEntry
}

type hashedEntry struct {
	hash  uint64
	entry *entry
}

func (l *nameLoader) visit(name string, r *record) error {
	if !r.registered {
		return nil
	}
	e := newEntry(r.current)
	if e == nil {
		return fmt.Errorf("%w: the record of %q", errMalformed, name)
	}
	l.add(e)
	return nil
}

func (l *nameLoader) add(e *entry) {
	h := l.index.hash(l.index.key(e))
	list := &l.entries[h>>(64-shardBits)]
	*list = append(*list, hashedEntry{h, e})
}

// load builds the indexes from what the examination found and from the log.
func (s *Store) load(x *examination, loaders []*nameLoader) error {
	s.state = x.state
	s.sweepStart = s.state.tail
	s.outcomes.init()
	s.ended = newEndedNames()
	s.addresses.init(true)
	s.names.fill(loaders)
	err := s.db.View(func(btx *bbolt.Tx) error {
		o := newOverlay()
		if err := o.replay(btx, &s.state, x.included); err != nil {
			return err
		}
		s.loadOverlay(o, x)
		if err := s.loadAddresses(); err != nil {
			return err
		}
		return s.loadOutcomes(btx)
	})
	if err != nil {
		return damaged(err)
	}
	last := s.state.last
	s.last.Store(&last)
	return nil
}

// loadOverlay brings the indexes up to date with the end of the log.
func (s *Store) loadOverlay(o *overlay, x *examination) {
	s.pending = o.pending
	var endings []nameEnding
	for _, w := range x.workers {
		for _, e := range w.endings {
			if p := o.pending.byName[e.name]; p == nil || !p.known && !p.forget {
				endings = append(endings, e)
			}
		}
	}
	for name, p := range o.pending.byName {
		if !p.known {
			continue
		}
		if e := o.names.find(name); e != nil {
			s.names.put(e)
			continue
		}
		s.names.remove(name)
		if !p.forgotten() {
			endings = append(endings, nameEnding{name, p.position, p.ending})
		}
	}
	slices.SortFunc(endings, nameEnding.compare)
	for _, e := range endings {
		s.ended.add(e.name)
	}
}

func (s *Store) loadOutcomes(btx *bbolt.Tx) error {
	return eachGroup(btx, s.state.outcomes, s.state.tail, func(position uint64, g []byte) error {
		_, err := decodeGroup(position, g, visitor{outcome: func(o storage.Outcome) {
			s.outcomes.add(s.outcomes.slot(o.ID, position))
		}})
		return err
	})
}

// loadAddresses builds the index of addresses from that of names.
func (s *Store) loadAddresses() error {
	l := &nameLoader{index: &s.addresses}
	n := uint64(0)
	for e := range s.names.all {
		l.add(e)
		n++
	}
	s.addresses.fill([]*nameLoader{l})
	if n != s.state.registered || n != uint64(s.addresses.len()) {
		return fmt.Errorf("%d names are registered at %d addresses, and should be %d", n, s.addresses.len(), s.state.registered)
	}
	s.count.Store(int64(n))
	return nil
}
