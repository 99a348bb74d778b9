package engine

import (
	"errors"
	"fmt"

	"foyer/storage"
)

// Update implements [storage.Store].
func (s *Store) Update(now storage.Instant, fn func(storage.Tx) error) error {
	return s.Pause(func(uint64) error {
		return s.retry(func() error { return s.update(now, fn) })
	})
}

func (s *Store) update(now storage.Instant, fn func(storage.Tx) error) error {
	now = storage.Instant{Wall: now.Wall.Round(0).UTC(), Lease: max(now.Lease, s.state.last.Lease)} // as it will be read
	if s.state.last.Wall.After(now.Wall) {
		now.Wall = s.state.last.Wall
	}
	t := s.begin(now)
	err := fn(t)
	if err == nil {
		err = unavailable(t.prepare())
	}
	if err == nil {
		err = unavailable(s.append(t, t.batch()))
	}
	if err != nil && s.doubt == nil { // what it has written to the arena is of no use
		s.arena.dropUnused(s.entries.number)
	}
	return err
}

func (t *tx) batch() *Batch {
	b := &Batch{Position: t.store.state.End, Group: t.encoded, Pieces: t.pieces, State: t.next.encode(), Needed: t.next.Outcomes}
	if t.store.shared == nil {
		b.Needed = min(b.Needed, t.next.Snapshot)
	}
	return b
}

func (s *Store) append(t *tx, b *Batch) error {
	err := s.log.Append(b)
	switch {
	case err == nil:
		s.publish(t)
	case errors.Is(err, storage.ErrUncertain):
		s.doubt = t
	}
	return err
}

// settle finds out what has become of a transaction that was uncertain, and follows what others have appended.
func (s *Store) settle() error {
	end, err := s.log.End()
	for err == nil && s.doubt != nil && s.shared != nil && end == s.state.End {
		if err = s.fence(); err == nil {
			end, err = s.log.End()
		}
	}
	if err != nil {
		return err
	}
	if t := s.doubt; t != nil {
		ours, err := t.isOurs(end)
		if err != nil {
			return err
		}
		if ours {
			s.publish(t)
		}
		s.doubt = nil
	}
	if s.shared != nil && end >= s.state.End {
		return s.follow(end)
	} else if end == s.state.End {
		return nil
	}
	return fmt.Errorf("%w: at %d instead of %d", ErrConflict, end, s.state.End)
}

func (t *tx) prepare() error {
	if err := t.forget(); err != nil {
		return err
	}
	t.group.at = t.now
	for _, c := range t.changed {
		t.group.entries = append(t.group.entries, c.new.bytes()...)
	}
	t.encoded = t.group.append(t.encoded, t.next.End)
	return t.account(len(t.encoded))
}

// account makes next what the state is with the transaction, whose group is as long as that.
func (t *tx) account(size int) error {
	for _, c := range t.changed {
		t.next.Registered += uint64(boolToInt(c.new.has(isRegistered)) - boolToInt(c.old.has(isRegistered)))
	}
	if err := t.expireOutcomes(); err != nil {
		return err
	}
	t.sweepSome(size)
	t.next.End += uint64(size)
	t.next.last = t.now
	return nil
}

// publish makes a transaction that is durable visible.
func (s *Store) publish(t *tx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishSweep(t)
	n := len(s.ended.queue)
	for _, c := range t.changed {
		s.publishName(c)
		s.ended.change(c.old, c.new)
	}
	sortEnded(s.ended.queue[n:])
	s.ended.trim(&s.names)
	s.compact(t.swept)
	s.count.Store(int64(t.next.Registered))
	s.publishOutcomes(t)
	s.state, s.held = t.next, t.held
	last := t.next.last
	s.last.Store(&last)
}

func (s *Store) publishName(c *nameChange) {
	if c.old.has(isRegistered) {
		s.addresses.remove(c.old) // unless another name has it by now
	}
	if c.new.has(isRegistered) {
		s.addresses.put(c.newAt, c.new)
	}
	if c.new.known() {
		s.names.put(c.newAt, c.new)
	} else if c.newAt = 0; c.old == nil {
		return
	} else {
		s.names.remove(c.old)
	}
	s.arena.use(c.newAt, 1)
	s.arena.use(c.oldAt, -1)
	s.order.put(c.name, c.oldAt, c.newAt)
}
