package bolt

import (
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

var _ storage.Tx = (*tx)(nil)

// A tx is a running Update: what it changes, laid over what the store's indexes
// hold, and at the same time encoded as the group that will be appended to the
// log. Only when that is durable do the indexes change, in publish.
type tx struct {
	store *Store
	btx   *bbolt.Tx
	now   storage.Instant
	err   error // of an event that did not fit: the transaction can only be given up

	changes   map[string]*change // by name
	changed   []*change          // the same, in the order in which they began
	addresses map[string]string  // address -> name, or empty if it is free again
	events    []appliedEvent
	endings   uint64 // events that ended a registration
	outcomes  map[foyer.ID]int
	missing   foyer.ID // the id that Outcome has looked for last, in vain

	// What the indexes were asked for last: who looks a name or an address up
	// is about to change it.
	name    string
	found   *entry
	address string
	holder  string

	recorded []recordedOutcome

	holds heldNames // changed; without Until, taken away
	held  int       // how many more there are than before

	touched outcomeSlot // of no meaning; see Expect

	eventBytes   []byte // the changes of the group
	outcomeBytes []byte // the outcomes of the group

	// Made by prepare.
	group      []byte
	position   uint64
	outcomesAt int // in the group
	next       state
	ending     []*change // names that end, in that order
	forgotten  []string
	expired    []outcomePlace
	folded     []pendingEvent // views of the pending events
	records    []byte         // memory for the records of folded
	record     record         // the one that is read to be folded into
	merged     pendingName    // what is folded into it
	clocks     groupClocks
	sweepEnds  bool
	durable    bool // after a commit that failed: it is in the file
}

// A change is what becomes of a name.
type change struct {
	name   string
	old    *entry // nil if it was not registered
	new    *entry // nil if it will not be registered
	at     ref    // of new, if that is not old
	ending uint64 // the last of the endings that was its own, counted from 1
}

// A recordedOutcome is an outcome of this transaction.
type recordedOutcome struct {
	slot outcomeSlot // without its block
	at   int         // where it begins in outcomeBytes
}

// An appliedEvent is where an event stands in eventBytes.
type appliedEvent struct {
	change     *change
	ending     uint64 // its place among the endings
	start, end int
}

// reset makes the tx ready for another Update and keeps its memory, unless
// that has become much more than an Update usually needs.
func (t *tx) reset() {
	if len(t.events)+len(t.recorded) > 1<<14 {
		*t = tx{store: t.store}
	}
	if t.changes == nil {
		t.changes = map[string]*change{}
		t.addresses = map[string]string{}
		t.outcomes = map[foyer.ID]int{}
	}
	for _, c := range t.changed {
		*c = change{}
	}
	clear(t.changes)
	clear(t.addresses)
	clear(t.outcomes)
	clear(t.events)
	clear(t.ending)
	*t = tx{
		store: t.store, changes: t.changes, addresses: t.addresses, outcomes: t.outcomes,
		changed: t.changed[:0], record: record{history: t.record.history[:0]},
		events: t.events[:0], recorded: t.recorded[:0], expired: t.expired[:0],
		ending: t.ending[:0], merged: pendingName{history: t.merged.history[:0]},
		eventBytes: t.eventBytes[:0], outcomeBytes: t.outcomeBytes[:0],
		group: t.group[:0], records: t.records[:0],
	}
}

// change returns a change that is not used yet. They are kept from one Update to
// the next.
func (t *tx) change() *change {
	n := len(t.changed)
	if n == cap(t.changed) {
		t.changed = append(t.changed, nil)
	} else {
		t.changed = t.changed[:n+1]
	}
	if t.changed[n] == nil {
		t.changed[n] = new(change)
	}
	return t.changed[n]
}

// entry returns the entry of a name as this transaction sees it, or nil.
func (t *tx) entry(name string) *entry {
	if c := t.changes[name]; c != nil {
		return c.new
	}
	return t.before(name)
}

// before returns the entry of a name as it was before the transaction, or nil.
// It keeps name.
func (t *tx) before(name string) *entry {
	if t.name != name {
		t.name, t.found = name, t.store.names.find(name)
	}
	return t.found
}

// Expect implements [storage.Tx]. What it asks for is not in any cache of the
// processor, which waits for some of it while it asks for more. It does not wait
// for entries: most of what is looked up here is not there.
func (t *tx) Expect(names [][]byte, addrs []foyer.Address, ids []foyer.ID) {
	s := t.store
	for _, name := range names {
		s.names.touch(viewString(name))
	}
	for _, addr := range addrs {
		s.addresses.touch(string(addr))
	}
	for _, id := range ids {
		t.touched += s.outcomes.touch(id)
	}
}

// Get implements [storage.Tx].
func (t *tx) Get(name foyer.Name) (foyer.Registration, error) {
	e := t.entry(string(name))
	if e == nil {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return e.registration(), nil
}

// NameAt implements [storage.Tx].
func (t *tx) NameAt(addr foyer.Address) (foyer.Name, error) {
	name, changed := t.addresses[string(addr)]
	if !changed {
		name = t.holderBefore(string(addr))
	}
	if name == "" {
		return "", foyer.ErrUnknownName
	}
	return foyer.Name(name), nil
}

// holderBefore returns the name at an address as it was before the transaction,
// or "". It keeps addr.
func (t *tx) holderBefore(addr string) string {
	if t.address != addr {
		t.address, t.holder = addr, ""
		if e := t.store.addresses.find(addr); e != nil {
			t.holder = e.name()
		}
	}
	return t.holder
}

// Apply implements [storage.Tx].
func (t *tx) Apply(e storage.Event) error {
	if t.err == nil {
		t.err = t.apply(e)
	}
	return t.err
}

func (t *tx) apply(e storage.Event) error {
	r := &e.Registration
	if !known(e.Kind) {
		return fmt.Errorf("%w: the kind %d is unknown", storage.ErrMisfit, e.Kind)
	}
	c := t.changes[string(r.Name)]
	if c == nil {
		old := t.before(string(r.Name))
		c = t.change()
		c.old, c.new = old, old
	}
	if (c.new != nil) == (e.Kind == storage.Registered) {
		return fmt.Errorf("%w: %q %s", storage.ErrMisfit, r.Name, e.Kind)
	}
	// The event is written whole, whatever its kind, so it must be one that
	// can be read again.
	if _, ok := newHeader(r); !ok {
		return fmt.Errorf("%w: a name, an address or a lease that cannot be kept", storage.ErrMisfit)
	}
	switch before := c.new; {
	case e.Kind <= storage.Extended:
		if holder, err := t.NameAt(r.Address); err == nil && holder != r.Name {
			return fmt.Errorf("%w: %q has the address of %q", storage.ErrMisfit, holder, r.Name)
		}
		if before != nil {
			t.addresses[before.address()] = ""
		}
		c.at, c.new = t.store.entries.add(r)
		t.addresses[c.new.address()] = c.new.name()
	case e.Kind.Ends():
		t.addresses[before.address()] = ""
		c.new = nil
		t.endings++
		c.ending = t.endings
	}
	if c.name == "" {
		// Of an entry, so that the caller's need not be copied.
		if c.old != nil {
			c.name = c.old.name()
		} else {
			c.name = c.new.name()
		}
		t.changes[c.name] = c
	}
	t.eventBytes = appendText(t.eventBytes, c.name)
	start := len(t.eventBytes)
	t.eventBytes = appendEvent(t.eventBytes, e)
	t.events = append(t.events, appliedEvent{c, t.endings, start, len(t.eventBytes)})
	return nil
}

// Outcome implements [storage.Tx].
func (t *tx) Outcome(id foyer.ID) (o storage.Outcome, ok bool, err error) {
	if at, here := t.outcomes[id]; here {
		d := decoder{b: t.outcomeBytes[at:]}
		return d.outcome(), true, nil
	}
	s, log := t.store, t.btx.Bucket(bucketLog)
	s.outcomes.candidates(id, func(p outcomePlace) bool {
		err = guard(func() error {
			block := p.slot.block(s.state.tail)
			if err := s.skipExpired(log, t.now); err != nil || block < s.kept {
				return err
			}
			o, err = outcomeAt(log, block, int(p.offset))
			ok = err == nil && o.ID == id
			return err
		})
		return !ok && err == nil
	})
	if err != nil || ok {
		return o, ok, unavailable(err)
	}
	t.missing = id
	return storage.Outcome{}, false, nil
}

// expired reports whether an outcome need not be kept any longer.
func expired(recorded, now storage.Instant) bool {
	return now.Lease-recorded.Lease > storage.OutcomeRetention
}

// Record implements [storage.Tx].
func (t *tx) Record(o storage.Outcome) error {
	if t.missing == o.ID && o.ID != (foyer.ID{}) {
		t.missing = foyer.ID{} // the caller has just asked
	} else if _, ok, err := t.Outcome(o.ID); err != nil {
		return err
	} else if ok {
		return fmt.Errorf("%w: the id %x has an outcome already", storage.ErrMisfit, o.ID)
	}
	at := len(t.outcomeBytes)
	t.outcomes[o.ID] = at
	t.outcomeBytes = appendOutcome(t.outcomeBytes, o)
	t.recorded = append(t.recorded, recordedOutcome{t.store.outcomes.slot(o.ID, 0), at})
	return nil
}

// Outcomes implements [storage.Tx].
func (t *tx) Outcomes() int { return t.store.outcomes.n + len(t.recorded) }

// decideForgotten finds out which names end, and whose history has to give way
// to theirs.
func (t *tx) decideForgotten() {
	ended := t.store.ended
	total := len(ended.turn)
	for _, c := range t.changed {
		if ended.has(c.name) {
			total--
		}
		if c.new == nil {
			total++
			t.ending = append(t.ending, c)
		}
	}
	slices.SortFunc(t.ending, func(a, b *change) int { return int(a.ending) - int(b.ending) })
	excess := total - storage.HistoryNames
	if excess <= 0 {
		return
	}
	for name := range ended.all {
		if len(t.forgotten) == excess {
			return
		}
		if t.changes[name] == nil {
			t.forgotten = append(t.forgotten, name)
		}
	}
	for _, c := range t.ending {
		if len(t.forgotten) == excess {
			return
		}
		t.forgotten = append(t.forgotten, c.name)
	}
}
