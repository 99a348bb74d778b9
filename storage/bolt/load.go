package bolt

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// To read a million records, check them and build the indexes takes about a
// second. So a large file is opened as soon as its outline is known to be sound
// (examination.outline), and a goroutine does the rest: it looks at the whole
// file, as is done with a small one before it is opened, and builds the indexes.
// Whatever needs those, or more of the file than one look-up, waits for it: no
// page is written before all have been checked. If one is damaged, all that
// waits is told so, for good.
//
// Until then Find makes do with coldRooms.

// A loader builds the indexes of a store.
type loader struct {
	store   *Store
	examine func(large uint64) (*examination, error) // examines the file
	found   *examination
	overlay *overlay
	names   []*entryLoader // of each goroutine that has read records
	behind  bool           // others are at work meanwhile
}

// breathe is how many records are read, in a third of a millisecond or so,
// between two pauses in which sockets are looked at. On one processor a look-up
// would have to wait for ten milliseconds, until the runtime interrupts the loader.
const breathe = 1 << 10

// open opens the file, which must be there.
func (s *Store) open() (err error) {
	s.entries.arena = &s.arena
	s.names.init(&s.arena, false)
	l := &loader{store: s}
	s.db, err = s.openBolt(s.path, false, func(f *os.File, info os.FileInfo) (err error) {
		s.file = info
		l.examine = func(large uint64) (*examination, error) { return examine(f, info.Size(), large, l.visit) }
		l.found, err = l.examine(s.options.large)
		return err
	})
	if err != nil {
		return err
	}
	s.db.NoSync = s.options.noSync
	s.state, s.holds = l.found.state, l.found.holds
	s.sweepStart = s.state.tail
	s.count.Store(int64(s.state.registered))
	last := s.state.last
	s.last.Store(&last)
	s.loaded = make(chan struct{})
	if !l.found.large {
		defer close(s.loaded)
		return guard(l.build)
	}
	cold := newColdRooms(l.found)
	if err := guard(func() error { return s.db.View(cold.replay) }); err != nil {
		return err
	}
	s.cold.Store(cold)
	go func() {
		defer close(s.loaded)
		if err := guard(l.lookAndBuild); err != nil {
			s.loadErr = openError(s.path, err)
			return
		}
		s.cold.Store(nil)
	}()
	return nil
}

// lookAndBuild looks at all of the file and builds the indexes.
func (l *loader) lookAndBuild() (err error) {
	l.behind = true
	if l.found, err = l.examine(math.MaxUint64); err != nil {
		return err
	}
	return l.build()
}

// build builds the indexes from the entries that have been collected and from
// the log.
func (l *loader) build() error {
	s := l.store
	l.overlay = newOverlay()
	s.pending = l.overlay.pending
	err := s.db.View(func(btx *bbolt.Tx) error { return l.overlay.replay(btx, &s.state, l.found.included) })
	if err != nil {
		return damaged(err)
	}
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
		return asDamage(err)
	}
	return nil
}

// visit returns a function that collects entries, for one goroutine.
func (l *loader) visit() visit {
	e := &entryLoader{index: &l.store.names}
	entries := appender{arena: &l.store.arena}
	l.names = append(l.names, e)
	n := 0
	return func(name string, r *record) error {
		if l.store.closing.Load() {
			return errClosed
		}
		if n++; n%breathe == 0 && l.behind {
			time.Sleep(time.Microsecond)
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
		_, err := decodeGroup(position, g, visitor{outcome: func(offset int, o storage.Outcome) {
			s.outcomes.add(s.outcomes.slot(o.ID, 0).at(position, offset))
		}})
		return err
	})
}

// awaitIndexes waits until the indexes are there.
func (s *Store) awaitIndexes() error {
	<-s.loaded
	return s.loadErr
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
