package storetest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"foyer"
	"foyer/storage"
)

var _ storage.Store = (*Model)(nil)

var errClosed = storage.Unavailable(errors.New("the store is closed"))

// A Model is a [storage.Store] in memory, made for being obviously right rather
// than fast. What it holds outlives the Model, as a file outlives the process
// that wrote it: [Model.Reopen] goes on with it.
//
// All that is in it is bounded as the contract says: outcomes by their
// retention, histories by HistoryPerName and HistoryNames.
type Model struct {
	disk   *disk
	closed atomic.Bool
}

// disk is what survives the closing of a Model.
type disk struct {
	writing sync.Mutex // held by the one running Update

	mu        sync.RWMutex // guards what follows
	names     map[foyer.Name]foyer.Registration
	addresses map[foyer.Address]foyer.Name
	outcomes  map[foyer.ID]outcome
	ages      []age // of the outcomes, oldest first
	history   map[foyer.Name][]storage.Event
	holds     map[foyer.Name]storage.Hold
	ended     []foyer.Name // with a history but not registered, ended longest ago first
	last      storage.Instant

	sabotage Sabotage
	faults   []Fault // one is taken by each Update that reaches its commit
}

type outcome struct {
	storage.Outcome
	age
}

type age struct {
	id foyer.ID
	at storage.Instant
}

// NewModel returns an empty Model, broken in the way that s says; the zero
// Sabotage makes a correct one.
func NewModel(s Sabotage) *Model {
	return &Model{disk: &disk{
		names:     map[foyer.Name]foyer.Registration{},
		addresses: map[foyer.Address]foyer.Name{},
		outcomes:  map[foyer.ID]outcome{},
		history:   map[foyer.Name][]storage.Event{},
		holds:     map[foyer.Name]storage.Hold{},
		sabotage:  s,
	}}
}

// Reopen closes m, if it is open, and returns a Model with all that m held.
// Updates of m that come later fail, as those of a killed process do.
func (m *Model) Reopen() *Model {
	m.Close()
	return &Model{disk: m.disk}
}

// Close implements [storage.Store].
func (m *Model) Close() error {
	m.disk.writing.Lock() // waits for a running Update
	defer m.disk.writing.Unlock()
	m.closed.Store(true)
	return nil
}

// Find implements [storage.Store].
func (m *Model) Find(name []byte) (foyer.Registration, error) {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	r, ok := m.disk.names[foyer.Name(name)]
	if !ok {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return r, nil
}

// FindAll implements [storage.Store].
func (m *Model) FindAll(queries []storage.Query) {
	for i := range queries {
		q := &queries[i]
		q.Registration, q.Err = m.Find(q.Name)
	}
}

// Recorded implements [storage.Store].
func (m *Model) Recorded(id foyer.ID) bool {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	_, ok := m.disk.outcomes[id]
	return ok
}

// Len implements [storage.Store].
func (m *Model) Len() int {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	return len(m.disk.names)
}

// Last implements [storage.Store].
func (m *Model) Last() storage.Instant {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	return m.disk.last
}

// Check implements [storage.Store]. Nobody can remove a Model.
func (m *Model) Check() error { return nil }

// List implements [storage.Store].
func (m *Model) List(after foyer.Name, limit int) ([]foyer.Registration, error) {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	var list []foyer.Registration
	for name, r := range m.disk.names {
		if name > after {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b foyer.Registration) int {
		return strings.Compare(string(a.Name), string(b.Name))
	})
	return list[:min(max(limit, 0), len(list))], nil
}

// History implements [storage.Store].
func (m *Model) History(name foyer.Name) ([]storage.Event, error) {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	h := slices.Clone(m.disk.history[name])
	slices.Reverse(h)
	return h, nil
}

// Holds implements [storage.Store].
func (m *Model) Holds() ([]storage.Hold, error) {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	var list []storage.Hold
	for _, name := range slices.Sorted(maps.Keys(m.disk.holds)) {
		list = append(list, m.disk.holds[name])
	}
	return list, nil
}

// Update implements [storage.Store].
func (m *Model) Update(now storage.Instant, fn func(storage.Tx) error) error {
	d := m.disk
	d.writing.Lock()
	defer d.writing.Unlock()
	if m.closed.Load() {
		return errClosed
	}
	tx := &modelTx{
		disk: d, now: now,
		names:     map[foyer.Name]*foyer.Registration{},
		addresses: map[foyer.Address]foyer.Name{},
		outcomes:  map[foyer.ID]storage.Outcome{},
		holds:     map[foyer.Name]storage.Hold{},
	}
	if err := fn(tx); err != nil {
		return err
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	fault := d.takeFault()
	if fault == Refused || fault == Conflict {
		return fault.err()
	}
	if fault != Lost {
		d.commit(tx, fault != Torn || !d.sabotage.SplitIndexes)
	}
	return fault.err()
}

// commit makes the changes of tx, under d.mu, the address index only if
// addresses is true.
func (d *disk) commit(tx *modelTx, addresses bool) {
	for name, r := range tx.names {
		if r == nil {
			delete(d.names, name)
		} else {
			d.names[name] = *r
		}
	}
	if addresses {
		for addr, name := range tx.addresses {
			if name == "" {
				delete(d.addresses, addr)
			} else {
				d.addresses[addr] = name
			}
		}
	}
	for name, h := range tx.holds {
		if h.Until.IsZero() {
			delete(d.holds, name)
		} else {
			d.holds[name] = h
		}
	}
	for _, e := range tx.events {
		d.remember(e)
	}
	for len(d.ended) > storage.HistoryNames {
		delete(d.history, d.ended[0])
		d.ended = d.ended[1:]
	}

	for len(d.ages) > 0 && expired(d.ages[0].at, tx.now) {
		if oldest := d.ages[0]; d.outcomes[oldest.id].age == oldest {
			delete(d.outcomes, oldest.id)
		}
		d.ages = d.ages[1:]
	}
	if !d.sabotage.DropOutcomes {
		for id, o := range tx.outcomes {
			a := age{id, tx.now}
			d.outcomes[id] = outcome{o, a}
			d.ages = append(d.ages, a)
		}
	}
	d.last = tx.now
}

// remember adds an event to its name's history and keeps the list of those that
// have one without being registered.
func (d *disk) remember(e storage.Event) {
	name := e.Registration.Name
	h := d.history[name]
	switch {
	case e.Kind.Ends():
		d.ended = append(d.ended, name)
	case e.Kind == storage.Registered && len(h) > 0:
		i := slices.Index(d.ended, name)
		d.ended = slices.Delete(d.ended, i, i+1)
	}
	if e.Kind.Remembered() {
		e.Registration.Exits = ""
		h = append(h, e)
		d.history[name] = h[max(0, len(h)-storage.HistoryPerName):]
	}
}

func expired(recorded, now storage.Instant) bool {
	return now.Lease-recorded.Lease > storage.OutcomeRetention
}
