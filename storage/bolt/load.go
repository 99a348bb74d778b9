package bolt

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"foyer/room"
	"foyer/storage"
)

// To build the indexes of a million names takes ten times as long as to make
// sure that the file is sound. So a large file is looked at first, all of it, and
// if it is sound the store is open: a goroutine builds the indexes, and until it
// is done Find and List look into the file itself, with what the end of the log
// says of it laid over. The first Update waits for the indexes.

// A loader builds the indexes of a store.
type loader struct {
	store   *Store
	file    *os.File // bbolt's
	found   *examination
	overlay *overlay
	names   []*entryLoader // of each goroutine that has read records
}

// open opens the file, which must be there.
func (s *Store) open() (err error) {
	s.entries.arena = &s.arena
	s.names.init(&s.arena, false)
	l := &loader{store: s}
	s.db, err = s.openBolt(s.path, false, func(f *os.File, info os.FileInfo) (err error) {
		s.file, l.file = info, f
		l.found, err = examine(f, info.Size(), s.options.large, l.visit)
		return err
	})
	if err != nil {
		return err
	}
	s.db.NoSync = s.options.noSync
	if err := guard(l.replay); err != nil {
		return err
	}
	s.loaded = make(chan struct{})
	if !l.found.large {
		defer close(s.loaded)
		return guard(l.build)
	}
	s.cold.Store(l.overlay)
	go func() {
		defer close(s.loaded)
		if s.loadErr = guard(l.readAndBuild); s.loadErr == nil {
			s.cold.Store(nil)
		}
	}()
	return nil
}

// replay reads the end of the log, and sets what is known before there are
// indexes.
func (l *loader) replay() error {
	s := l.store
	s.state = l.found.state
	s.sweepStart = s.state.tail
	s.count.Store(int64(s.state.registered))
	last := s.state.last
	s.last.Store(&last)
	l.overlay = newOverlay()
	s.pending = l.overlay.pending
	return s.db.View(func(btx *bbolt.Tx) error {
		if err := l.overlay.replay(btx, &s.state, l.found.included); err != nil {
			return damaged(err)
		}
		return nil
	})
}

// readAndBuild reads the file once more and builds the indexes.
func (l *loader) readAndBuild() error {
	if err := l.found.revisit(l.visit); err != nil {
		return damaged(err)
	}
	return l.build()
}

// build builds the indexes from the entries that have been collected and from
// the log.
func (l *loader) build() error {
	s := l.store
	s.addresses.init(&s.arena, true)
	s.outcomes.init()
	s.ended = newEndedNames()
	s.names.fill(l.names)
	l.names = nil
	if err := l.bringUpToDate(); err != nil {
		return damaged(err)
	}
	if err := l.buildAddresses(); err != nil {
		return damaged(err)
	}
	if err := s.db.View(l.buildOutcomes); err != nil {
		return damaged(err)
	}
	return nil
}

// visit returns a function that collects entries, for one goroutine.
func (l *loader) visit() visit {
	e := &entryLoader{index: &l.store.names}
	entries := appender{arena: &l.store.arena}
	l.names = append(l.names, e)
	return func(name string, r *record) error {
		if l.store.closing.Load() {
			return errClosed
		}
		if !r.registered {
			return nil
		}
		at, entry := entries.add(&r.current)
		if entry == nil {
			return fmt.Errorf("%w: the record of %q", errMalformed, name)
		}
		e.add(at, entry)
		return nil
	}
}

// bringUpToDate adds what the end of the log says, and finds out in which order
// names have ended.
func (l *loader) bringUpToDate() error {
	s := l.store
	var endings []nameEnding
	told := map[string]bool{} // what the log tells the end of; no more than is pending
	for p := range l.overlay.pending.after("") {
		if p.known || p.forget {
			told[p.name] = true
		}
		switch {
		case !p.known:
		case p.registered():
			at, e := s.entries.add(&p.current)
			if e == nil {
				return fmt.Errorf("%w: a registration in the log", errMalformed)
			}
			s.names.put(at, e)
		default:
			s.names.remove(p.name)
			if !p.forgotten() {
				endings = append(endings, nameEnding{strings.Clone(p.name), p.position, p.ending})
			}
		}
	}
	for _, w := range l.found.workers {
		for _, e := range w.endings {
			if !told[e.name] {
				endings = append(endings, e)
			}
		}
	}
	slices.SortFunc(endings, nameEnding.compare)
	for _, e := range endings {
		s.ended.add(e.name)
	}
	return nil
}

// buildAddresses builds the index of addresses from that of names, and notes
// what the latter has in use.
func (l *loader) buildAddresses() error {
	s := l.store
	collected := &entryLoader{index: &s.addresses}
	n := uint64(0)
	for at, e := range s.names.all {
		s.use(at)
		collected.add(at, e)
		n++
	}
	s.addresses.fill([]*entryLoader{collected})
	if n != s.state.registered || n != uint64(s.addresses.len()) {
		return fmt.Errorf("%d names are registered at %d addresses, and should be %d", n, s.addresses.len(), s.state.registered)
	}
	return nil
}

func (l *loader) buildOutcomes(btx *bbolt.Tx) error {
	s := l.store
	return eachGroup(btx, s.state.outcomes, s.state.tail, func(position uint64, g []byte) error {
		if s.closing.Load() {
			return errClosed
		}
		_, err := decodeGroup(position, g, visitor{outcome: func(o storage.Outcome) {
			s.outcomes.add(s.outcomes.slot(o.ID, position))
		}})
		return err
	})
}

// awaitIndexes waits until the indexes are there.
func (s *Store) awaitIndexes() error {
	<-s.loaded
	return s.loadErr
}

// findCold is Find while there is no index.
func (s *Store) findCold(name []byte) (r room.Registration, err error) {
	s.mu.RLock() // the overlay changes under mu, once there is an index
	defer s.mu.RUnlock()
	o := s.cold.Load()
	if o == nil {
		return s.findIndexed(name)
	}
	var ok bool
	err = s.view(func(btx *bbolt.Tx) error {
		r, ok, err = o.find(btx, string(name))
		return err
	})
	if err == nil && !ok {
		err = room.ErrUnknownName
	}
	return r, err
}

// listCold is List while there is no index, under s.mu.
func (s *Store) listCold(o *overlay, after room.Name, limit int) (list []room.Registration, err error) {
	err = s.view(func(btx *bbolt.Tx) error {
		list, err = o.list(btx, string(after), limit)
		return err
	})
	return list, err
}

// An entryLoader collects the entries that one goroutine has come by, apart by
// the shards of the index that they are for.
type entryLoader struct {
	index   *index
	entries [shardCount][]hashedEntry
}

type hashedEntry struct {
	hash uint64
	at   ref
}

func (l *entryLoader) add(at ref, e *entry) {
	h := l.index.hash(l.index.key(e))
	list := &l.entries[h>>(64-shardBits)]
	*list = append(*list, hashedEntry{h, at})
}

var errClosed = errors.New("the store is closed")
