package bolt

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

var _ storage.Store = (*Store)(nil)

// A Store is a [storage.Store] in one file. It starts one goroutine, to build
// the indexes of a large file, which ends when it is done; see load.go.
type Store struct {
	path    string
	file    os.FileInfo // of the file that was opened, to know it again
	options Options

	// How bbolt is opened and commits; tests put failures in their place.
	openBolt   func(path string, readOnly bool, look func(*os.File, os.FileInfo) error) (*bbolt.DB, error)
	commitBolt func(*bbolt.Tx) error

	// Set by the goroutine that builds the indexes, when it is done.
	loaded  chan struct{} // closed then
	loadErr error
	closing atomic.Bool // tells it, and a copy, to give up

	committing stopwatch // while an Update writes to the file

	// Read by Find and its like from any goroutine, written by publish.
	cold  atomic.Pointer[coldRooms] // instead of an index, while there is none
	arena arena                     // of the entries of names and addresses
	names index
	count atomic.Int64
	last  atomic.Pointer[storage.Instant]

	mu      sync.RWMutex // guards what follows: List, History and Holds read it while Update writes
	db      *bbolt.DB    // nil while the file cannot be opened again
	pending *pendingEvents
	holds   heldNames

	writing    sync.Mutex // held by Update and Close; guards what follows
	closed     bool
	trouble    *trouble // nil while the file can be written
	addresses  index
	entries    appender // writes those of Updates
	reclaimer  reclaimer
	outcomes   outcomeIndex
	ended      *endedNames
	state      state       // as the last commit left it
	sweepStart uint64      // where the log ended when the sweep began; see fold.go
	clocks     groupClocks // of the group at state.outcomes
	kept       uint64      // the first group whose outcomes count, if that is behind state.outcomes
	scratch    *tx         // of the last Update, for the next
}

// groupClocks are the clocks of the group at a position.
type groupClocks struct {
	position uint64
	at       storage.Instant
}

// Find implements [storage.Store]. The strings of the registration point into
// memory that never changes. They may be kept, but each keeps a mebibyte of it;
// who keeps many for long had better clone them.
//
// In the first moments after a large file was opened, while the indexes are
// being built, it looks into the file, and allocates; see cold.go for what that
// is worth if the file is damaged.
func (s *Store) Find(name []byte) (foyer.Registration, error) {
	if s.cold.Load() != nil {
		return s.findCold(name)
	}
	return s.findIndexed(name)
}

func (s *Store) findIndexed(name []byte) (foyer.Registration, error) {
	return registrationOf(s.names.find(viewString(name)))
}

// FindAll implements [storage.Store]. What is said of Find holds here.
func (s *Store) FindAll(queries []storage.Query) {
	if len(queries) == 1 || s.cold.Load() != nil {
		for i := range queries {
			q := &queries[i]
			q.Registration, q.Err = s.Find(q.Name)
		}
		return
	}
	var names [sideBySide]string
	var found [sideBySide]*entry
	for len(queries) > 0 {
		n := min(len(queries), sideBySide)
		for i := range n {
			names[i] = viewString(queries[i].Name)
		}
		s.names.findAll(names[:n], found[:n])
		for i := range n {
			q := &queries[i]
			q.Registration, q.Err = registrationOf(found[i])
		}
		queries = queries[n:]
	}
}

// registrationOf returns what an entry holds, or that there is none.
func registrationOf(e *entry) (foyer.Registration, error) {
	if e == nil {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return e.registration(), nil
}

// Len implements [storage.Store].
func (s *Store) Len() int { return int(s.count.Load()) }

// Last implements [storage.Store].
func (s *Store) Last() storage.Instant { return *s.last.Load() }

// List implements [storage.Store]. An Update that commits meanwhile waits for
// it, so limit should be some thousands at most. It waits for the indexes, and
// so do Update and History; if the file turns out to be damaged they return an
// error that wraps [storage.ErrDamaged].
func (s *Store) List(after foyer.Name, limit int) ([]foyer.Registration, error) {
	if err := s.awaitIndexes(); err != nil {
		return nil, unavailable(err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if limit <= 0 {
		return nil, nil
	}
	// Every name that is registered is in the rooms or pending or both. Its
	// registration is in the index, which does not change while mu is held.
	list := make([]foyer.Registration, 0, min(limit, s.Len()))
	add := func(name string, _ *pendingName) (more bool) {
		if e := s.names.find(name); e != nil {
			list = append(list, e.registration())
		}
		return len(list) < limit
	}
	err := s.view(func(btx *bbolt.Tx) error {
		mergeNames(btx, s.pending, string(after), add)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// mergeNames calls yield with the names greater than after of the rooms and of
// the pending events, in ascending order, each once, until it returns false. With
// the name comes what is pending of it, or nil.
func mergeNames(btx *bbolt.Tx, pending *pendingEvents, after string, yield func(string, *pendingName) bool) {
	c := btx.Bucket(bucketRooms).Cursor()
	k, _ := c.Seek([]byte(after))
	if k != nil && string(k) == after {
		k, _ = c.Next()
	}
	for p := range pending.after(after) {
		for ; k != nil && viewString(k) < p.name; k, _ = c.Next() {
			if !yield(viewString(k), nil) {
				return
			}
		}
		if k != nil && viewString(k) == p.name {
			k, _ = c.Next()
		}
		if !yield(p.name, p) {
			return
		}
	}
	for ; k != nil && yield(viewString(k), nil); k, _ = c.Next() {
	}
}

// History implements [storage.Store].
func (s *Store) History(name foyer.Name) (events []storage.Event, err error) {
	if err := s.awaitIndexes(); err != nil {
		return nil, unavailable(err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	err = s.view(func(btx *bbolt.Tx) error {
		events, err = history(btx, s.pending, string(name))
		return err
	})
	return events, err
}

// history returns the history of a name, newest first: what its record holds
// and then what is pending of it, if anything.
func history(btx *bbolt.Tx, pending *pendingEvents, name string) ([]storage.Event, error) {
	var r record
	if b := btx.Bucket(bucketRooms).Get([]byte(name)); b != nil {
		if err := r.decode(name, slices.Clone(b), recordWhole); err != nil {
			return nil, damaged(err)
		}
	}
	// A fold that has been committed but not yet published is in both.
	if p := pending.get(name, r.position); p != nil {
		r.history = p.historyAfter(r.history)
	}
	events := make([]storage.Event, 0, len(r.history))
	for _, b := range slices.Backward(r.history) {
		d := decoder{b: slices.Clone(b)}
		events = append(events, d.event(name))
	}
	return events, nil
}

// view runs fn in a read transaction, under s.mu.
func (s *Store) view(fn func(*bbolt.Tx) error) error {
	if s.db == nil {
		return storage.Unavailable(errors.New("the database file cannot be read now"))
	}
	return unavailable(guard(func() error { return s.db.View(fn) }))
}
