package engine

import (
	"fmt"
	"slices"

	"foyer"
	"foyer/storage"
)

// A tx is a running Update: what it changes, laid over what the store's indexes hold. Only when that is durable do the
// indexes change, in publish.
type tx struct {
	store *Store
	now   storage.Instant

	names     map[string]*nameChange // those that were looked up
	changed   []*nameChange
	addresses map[string]string // address -> name or, if it is free, ""
	outcomes  map[foyer.ID]int  // where in group.outcomes they begin
	endCount  uint64            // registrations that it has ended
	held      int               // names with a hold

	record record // the one that is being changed
	buf    []byte // its entry
	group  group

	// Made by prepare.
	encoded       []byte // the group
	next          state
	expired       map[uint64]foyer.ID // outcomes by position
	expiredGroups int                 // from the first on, those whose outcomes are all expired
	pieces        map[string][]byte
	swept         []sweptPart
	sweep         sweep
}

type nameChange struct {
	name  string
	old   *entry // nil if nothing was known of it
	oldAt ref
	new   *entry // old if it does not change
	newAt ref
}

func (s *Store) begin(now storage.Instant) *tx {
	return &tx{
		store: s, now: now, next: s.state, sweep: s.sweep, held: s.held,
		names: map[string]*nameChange{}, addresses: map[string]string{}, outcomes: map[foyer.ID]int{},
		expired: map[uint64]foyer.ID{}, pieces: map[string][]byte{},
	}
}

// nameChange returns what becomes of a name, as far as that is decided.
func (t *tx) nameChange(name string) *nameChange {
	c := t.names[name]
	if c == nil {
		at, e := t.store.names.get(name)
		c = &nameChange{name: name, old: e, oldAt: at, new: e, newAt: at}
		t.names[name] = c
	}
	return c
}

// change has fn change what is known of a name.
func (t *tx) change(name string, fn func(*record)) (*nameChange, error) {
	c := t.nameChange(name)
	if err := t.record.read(name, c.new); err != nil {
		return nil, err
	}
	if c.new == c.old {
		t.changed = append(t.changed, c)
	}
	fn(&t.record)
	t.buf = t.record.append(t.buf[:0])
	c.newAt, c.new = t.store.entries.add(t.buf)
	c.name = c.new.name() // which lives on
	return c, nil
}

// Now implements [storage.Tx].
func (t *tx) Now() storage.Instant { return t.now }

// Get implements [storage.Tx].
func (t *tx) Get(name foyer.Name) (foyer.Registration, error) {
	return registrationOf(t.nameChange(string(name)).new)
}

// NameAt implements [storage.Tx].
func (t *tx) NameAt(addr foyer.Address) (foyer.Name, error) {
	name, known := t.addresses[string(addr)]
	if !known {
		if e := t.store.addresses.find(string(addr)); e != nil {
			name = e.name()
		}
		t.addresses[string(addr)] = name
	}
	if name == "" {
		return "", foyer.ErrUnknownName
	}
	return foyer.Name(name), nil
}

// Apply implements [storage.Tx].
func (t *tx) Apply(e storage.Event) error {
	if err := t.check(&e); err != nil {
		return err
	}
	name := string(e.Registration.Name)
	if before := t.nameChange(name).new; before.has(isRegistered) && e.Kind != storage.RenewedLate {
		t.addresses[before.address()] = ""
	}
	c, err := t.change(name, func(r *record) { r.apply(&e, endOrder{t.next.End, t.endCount}) })
	if err != nil {
		return err
	}
	if c.new.has(isRegistered) {
		t.addresses[c.new.address()] = c.new.name()
	}
	if e.Kind.Ends() {
		t.endCount++
	}
	return nil
}

// check returns an error if an event does not fit the registrations, or cannot be kept.
func (t *tx) check(e *storage.Event) error {
	r := &e.Registration
	switch {
	case e.Kind < storage.Registered || e.Kind > storage.Evicted:
		return fmt.Errorf("%w: the kind %d is unknown", storage.ErrMisfit, e.Kind)
	case !fits(r):
		return fmt.Errorf("%w: a name, an address or a lease that cannot be kept", storage.ErrMisfit)
	case t.nameChange(string(r.Name)).new.has(isRegistered) == (e.Kind == storage.Registered):
		return fmt.Errorf("%w: %q %s", storage.ErrMisfit, r.Name, e.Kind)
	case e.Kind > storage.Extended:
		return nil
	}
	if holder, err := t.NameAt(r.Address); err == nil && holder != r.Name {
		return fmt.Errorf("%w: %q has the address of %q", storage.ErrMisfit, holder, r.Name)
	}
	return nil
}

// Held implements [storage.Tx].
func (t *tx) Held(name foyer.Name) (storage.Hold, bool) {
	h := t.nameChange(string(name)).new.hold()
	return h, !h.Until.IsZero()
}

// Hold implements [storage.Tx].
func (t *tx) Hold(h storage.Hold) error {
	_, held := t.Held(h.Name)
	if !held && h.Until.IsZero() {
		return nil
	}
	if !held && t.held >= storage.MaxHolds {
		if err := t.dropHolds(); err != nil {
			return err
		}
	}
	_, err := t.change(string(h.Name), func(r *record) {
		t.held += boolToInt(!h.Until.IsZero()) - boolToInt(!r.hold.Until.IsZero())
		r.hold = h
	})
	return err
}

// dropHolds takes away the holds that are over, and returns an error if there are none.
func (t *tx) dropHolds() error {
	holds, err := t.store.Holds()
	for _, h := range holds {
		if h, held := t.Held(h.Name); err == nil && held && !h.Until.After(t.now.Wall) {
			err = t.Hold(storage.Hold{Name: h.Name})
		}
	}
	if err == nil && t.held >= storage.MaxHolds {
		err = fmt.Errorf("%w: %d names are held, as many as can be", foyer.ErrBusy, storage.MaxHolds)
	}
	return err
}

// forget drops the histories of the names that ended longest ago, those in excess of what is kept.
func (t *tx) forget() error {
	excess := t.store.ended.n - storage.HistoryNames
	var ending []*nameChange
	for _, c := range t.changed {
		excess += boolToInt(c.new.isEnded()) - boolToInt(c.old.isEnded())
		if c.new.isEnded() {
			ending = append(ending, c)
		}
	}
	if excess <= 0 {
		return nil
	}
	slices.SortFunc(ending, func(a, b *nameChange) int { return a.new.endOrder().compare(b.new.endOrder()) })
	var names []string
	for name := range t.store.ended.all(&t.store.names) {
		if c := t.names[name]; c == nil || c.new == c.old {
			names = append(names, name)
		}
		if len(names) == excess {
			break
		}
	}
	for _, c := range ending[:excess-len(names)] {
		names = append(names, c.name)
	}
	for _, name := range names {
		if _, err := t.change(name, func(r *record) { r.history = r.history[:0] }); err != nil {
			return err
		}
	}
	return nil
}

// Outcome implements [storage.Tx].
func (t *tx) Outcome(id foyer.ID) (o storage.Outcome, ok bool, err error) {
	if at, here := t.outcomes[id]; here {
		d := decoder{b: t.group.outcomes[at:]}
		return d.outcome(), true, nil
	}
	s := t.store
	for position := range s.outcomes.candidates(id, s.state.End) {
		if position < s.outcomesFrom(t.now) {
			continue
		}
		if o, err = s.readOutcome(position); err != nil || o.ID == id {
			return o, err == nil, unavailable(err)
		}
	}
	return storage.Outcome{}, false, nil
}

// readOutcome returns the outcome that begins at a position. It does not read the rest of the group, nor the checksum
// over all of it: opening has.
func (s *Store) readOutcome(position uint64) (storage.Outcome, error) {
	for size := uint64(256); ; size *= 8 {
		b := make([]byte, min(size, s.state.End-position))
		_, err := s.log.ReadAt(b, int64(position))
		d := decoder{b: b}
		if o := d.outcome(); err != nil || !d.bad {
			return o, err
		}
		if uint64(len(b)) < size {
			return storage.Outcome{}, malformed("the outcome at %d of the log does not decode", position)
		}
	}
}

// Record implements [storage.Tx].
func (t *tx) Record(o storage.Outcome) error {
	if _, ok, err := t.Outcome(o.ID); err != nil {
		return err
	} else if ok {
		return fmt.Errorf("%w: the id %x has an outcome already", storage.ErrMisfit, o.ID)
	}
	t.outcomes[o.ID] = len(t.group.outcomes)
	t.group.outcomes = appendOutcome(t.group.outcomes, &o)
	return nil
}

// Outcomes implements [storage.Tx].
func (t *tx) Outcomes() int { return t.store.outcomes.n + len(t.outcomes) }
