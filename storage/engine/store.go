package engine

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"foyer"
	"foyer/storage"
)

// A Store is a [storage.Store] on a [Log].
type Store struct {
	log    Log
	shared SharedLog // log, if it is one
	pace   Pace

	observe func(storage.Instant, []storage.Change) // or nil

	// Read by Find and its like from any goroutine, written by publish.
	arena arena // of the entries of all names
	names index
	count atomic.Int64 // registered names
	last  atomic.Pointer[storage.Instant]

	mu    sync.RWMutex // guards what follows: List and Holds read it while Update writes
	order order

	writing       sync.Mutex // held by Update and Close; guards what follows
	closed        bool
	doubt         *tx // what may be in the log or not; nil mostly
	addresses     index
	entries       appender // writes those of Updates
	outcomes      outcomeIndex
	ended         endedNames
	held          int       // names with a hold
	state         state     // as the last group left it
	sweep         sweep     // through the parts, for the snapshot
	outcomeGroups []groupAt // those with outcomes, 24 bytes each
}

// Find implements [storage.Store]. The strings of the registration point into memory that never changes. They may be
// kept, but each keeps a mebibyte of it; who keeps many for long had better clone them.
func (s *Store) Find(name []byte) (foyer.Registration, error) {
	return registrationOf(s.names.find(viewString(name)))
}

// FindAll implements [storage.Store]. What is said of Find holds here.
func (s *Store) FindAll(queries []storage.Query) {
	var names [sideBySide]string
	var found [sideBySide]*entry
	for len(queries) > 0 {
		n := min(len(queries), sideBySide)
		for i := range n {
			names[i] = viewString(queries[i].Name)
		}
		s.names.findAll(names[:n], found[:n])
		for i := range n {
			queries[i].Registration, queries[i].Err = registrationOf(found[i])
		}
		queries = queries[n:]
	}
}

func registrationOf(e *entry) (foyer.Registration, error) {
	if !e.has(isRegistered) {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return e.registration(), nil
}

// Len implements [storage.Store].
func (s *Store) Len() int { return int(s.count.Load()) }

// Last implements [storage.Store].
func (s *Store) Last() storage.Instant { return *s.last.Load() }

// List implements [storage.Store]. An Update that commits meanwhile waits for it, so limit should be some thousands at most.
func (s *Store) List(after foyer.Name, limit int) ([]foyer.Registration, error) {
	if limit <= 0 {
		return nil, nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]foyer.Registration, 0, min(limit, s.Len()))
	for e := range s.order.after(string(after)) {
		if e.has(isRegistered) {
			list = append(list, e.registration())
		}
		if len(list) == limit {
			break
		}
	}
	return list, nil
}

// History implements [storage.Store].
func (s *Store) History(name foyer.Name) ([]storage.Event, error) {
	var r record
	err := r.read(string(name), s.names.find(string(name)))
	return r.history, unavailable(err)
}

// Holds implements [storage.Store]. It looks at all names.
func (s *Store) Holds() ([]storage.Hold, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	holds := []storage.Hold{}
	for _, e := range s.order.all {
		if e.has(isHeld) {
			holds = append(holds, e.hold())
		}
	}
	slices.SortFunc(holds, func(a, b storage.Hold) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return holds, nil
}

// Check implements [storage.Store].
func (s *Store) Check() error { return unavailable(s.log.Check()) }

// Recorded implements [storage.Store].
func (s *Store) Recorded(id foyer.ID) (may bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.doubt != nil {
		_, may = s.doubt.outcomes[id]
	}
	for range s.outcomes.candidates(id, s.state.End) {
		may = true
	}
	return may
}

// Pause runs fn while no Update does. What the log has in front of the position needed will not be read again.
func (s *Store) Pause(fn func(needed uint64) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return errClosed
	}
	if err := s.settle(); err != nil {
		return unavailable(err)
	}
	return fn(min(s.state.Outcomes, s.state.Snapshot))
}

var errClosed = storage.Unavailable(errors.New("the store is closed"))

// Close implements [storage.Store]. It writes what the snapshot lacks, so that opening takes less time; a failure of that
// does no harm.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.settle() == nil && s.shared == nil {
		_ = s.sweepAll()
	}
	return s.log.Close()
}

func unavailable(err error) error {
	if err == nil || errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain) {
		return err
	}
	return storage.Unavailable(err)
}
