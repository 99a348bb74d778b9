package bolt

import (
	"encoding/binary"
	"strings"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// Update implements [storage.Store].
//
// What it costs, whatever fn does: one bbolt transaction, which is two flushes,
// that appends one group to the log and folds some earlier ones.
func (s *Store) Update(now storage.Instant, fn func(storage.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return storage.Unavailable(errClosed)
	}
	if err := s.awaitIndexes(); err != nil {
		return unavailable(err)
	}
	now.Wall = now.Wall.Round(0).UTC() // as it will be read from the file
	now = latest(s.state.last, now)
	if s.trouble != nil {
		if err := s.mend(now); err != nil {
			return err
		}
	}
	btx, err := s.db.Begin(true)
	if err != nil {
		return s.failed(now, nil, err)
	}
	defer rollback(btx) // for when fn fails or panics; of no effect after a commit

	t := s.begin(btx, now)
	if err := fn(t); err != nil {
		return err
	}
	if t.err != nil {
		return t.err
	}
	if err := guard(t.prepare); err != nil {
		return unavailable(err)
	}
	s.committing.start()
	defer s.committing.stop()
	if err := guard(func() error { return s.commitBolt(btx) }); err != nil {
		rollback(btx) // where a panic has left it open, closing would wait for it
		return s.failed(now, t, err)
	}
	s.publish(t)
	return nil
}

func rollback(btx *bbolt.Tx) {
	guard(btx.Rollback)
}

// begin returns the tx for an Update, made from that of the one before.
func (s *Store) begin(btx *bbolt.Tx, now storage.Instant) *tx {
	if s.scratch == nil {
		s.scratch = &tx{store: s}
	}
	t := s.scratch
	s.reclaim(reclaimMin + reclaimPerEvent*len(t.events))
	t.reset()
	t.btx, t.now = btx, now
	return t
}

// prepare writes the group and all that goes with it into the transaction of
// bbolt.
func (t *tx) prepare() error {
	s := t.store
	t.next = s.state
	t.position = s.state.tail
	t.decideForgotten()
	t.encodeGroup()

	log := t.btx.Bucket(bucketLog)
	log.FillPercent = 1 // it only grows at its end
	for i := 0; i < len(t.group); i += blockSize {
		if err := log.Put(blockKey(t.next.tail), t.group[i:min(len(t.group), i+blockSize)]); err != nil {
			return err
		}
		t.next.tail++
	}
	if err := t.expireOutcomes(log); err != nil {
		return err
	}
	if err := t.fold(s.foldQuota(len(t.changed))); err != nil {
		return err
	}
	if err := t.trimLog(log); err != nil {
		return err
	}
	for _, c := range t.changed {
		if c.old != nil {
			t.next.registered--
		}
		if c.new != nil {
			t.next.registered++
		}
	}
	t.next.last = t.now
	if err := t.putHolds(); err != nil {
		return err
	}
	return putState(t.btx, &t.next)
}

func putState(btx *bbolt.Tx, s *state) error {
	return btx.Bucket(bucketMeta).Put(keyState, s.append(nil))
}

// latest returns the later reading of each clock.
func latest(a, b storage.Instant) storage.Instant {
	if a.Wall.After(b.Wall) {
		b.Wall = a.Wall
	}
	b.Lease = max(a.Lease, b.Lease)
	return b
}

func (t *tx) encodeGroup() {
	g := append(t.group[:0], make([]byte, groupHeader)...)
	g = appendClocks(g, t.now)
	g = binary.AppendUvarint(g, uint64(len(t.recorded)))
	t.outcomesAt = len(g)
	g = append(g, t.outcomeBytes...)
	g = binary.AppendUvarint(g, uint64(len(t.events)))
	g = append(g, t.eventBytes...)
	g = binary.AppendUvarint(g, uint64(len(t.forgotten)))
	for _, name := range t.forgotten {
		g = appendText(g, name)
	}
	sealGroup(g, t.position)
	t.group = g
}

// publish makes a transaction that is durable visible.
func (s *Store) publish(t *tx) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.publishChanges(t.changed)
	s.count.Store(int64(t.next.registered))
	s.publishFold(t)
	s.publishHistory(t)
	s.holds.change(t.holds)

	for _, r := range t.recorded {
		s.outcomes.add(r.slot.at(t.position, t.outcomesAt+r.at))
	}
	for _, place := range t.expired {
		s.outcomes.remove(place)
	}
	s.clocks = t.clocks
	s.state = t.next
	last := t.next.last
	s.last.Store(&last)
}

// publishChanges changes the indexes.
func (s *Store) publishChanges(changed []*change) {
	// What is given up goes first, so that an address that has changed hands
	// is found with the name that has it now.
	for _, c := range changed {
		if c.old != nil && c.old != c.new {
			s.addresses.remove(c.old.address())
		}
		if c.new == nil {
			s.disuse(s.names.remove(c.name))
		}
	}
	for _, c := range changed {
		if c.new != nil && c.new != c.old {
			s.use(c.at)
			s.disuse(s.names.put(c.at, c.new))
			s.addresses.put(c.at, c.new)
		}
	}
}

// publishHistory notes what the fold has to do for the names that t changed.
func (s *Store) publishHistory(t *tx) {
	if len(t.events)+len(t.forgotten) > 0 {
		block := s.pending.begin(t.position, len(t.eventBytes)+len(t.events)*2+len(t.forgotten)*8)
		for i := range t.events {
			e := &t.events[i]
			s.pending.add(block, e.change.name, e.ending, t.eventBytes[e.start:e.end])
		}
		for _, name := range t.forgotten {
			s.pending.forget(block, name)
		}
	}
	for _, c := range t.changed {
		s.ended.remove(c.name)
	}
	for _, c := range t.ending {
		s.ended.add(strings.Clone(c.name))
	}
	for _, name := range t.forgotten {
		s.ended.remove(name)
	}
	s.ended.trim()
}
