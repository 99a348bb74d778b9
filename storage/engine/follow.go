package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"foyer"
	"foyer/storage"
)

// A SharedLog is a [Log] to which other processes append as well: the first that appends at a position wins, and the others
// get ErrConflict. Each follows what the others have appended, so that all have the same state. Their snapshot is not
// written along with the groups, which would have all of them write it, but by one of them, from time to time, with Save.
type SharedLog interface {
	Log // whose End says where the log ends as far as this process has heard; after an uncertain Append, or a conflict, it asks

	// State returns the State of the last Batch in front of the position that End has returned last.
	State() []byte

	// Save keeps pieces as the snapshot, in the place of the one before, and with it what summary returns when all of them
	// were taken. Other methods go on meanwhile. The log is needed from a position on for who loads it.
	Save(from uint64, pieces iter.Seq2[string, []byte], summary func() []byte) error

	// Summary returns the summary of the snapshot that Load has shown, nil if there was none.
	Summary() []byte

	// News is sent to when others have appended something.
	News() <-chan struct{}
}

// maxConflicts is how often an Update may come second before it gives up.
const maxConflicts = 1000

// Observe implements [storage.Shared].
func (s *Store) Observe(fn func(storage.Instant, []storage.Change)) { s.observe = fn }

// Follow implements [storage.Shared].
func (s *Store) Follow() error { return s.Pause(func(uint64) error { return nil }) }

// News implements [storage.Shared].
func (s *Store) News() <-chan struct{} { return s.shared.News() }

// follow carries out the groups that others have appended, up to end.
func (s *Store) follow(end uint64) error {
	err := s.carryOut(end)
	if errors.Is(err, storage.ErrDamaged) {
		err = fmt.Errorf("%w: %w", storage.ErrDiverged, err)
	}
	return err
}

func (s *Store) carryOut(end uint64) error {
	if err := s.eachGroup(s.state.End, end, s.apply); err != nil {
		return err
	}
	raw := s.shared.State()
	if raw == nil && end == 0 {
		return nil
	}
	theirs, err := decodeState(raw)
	if err != nil {
		return err
	}
	if theirs.End != end || theirs.Registered != s.state.Registered {
		return malformed("%d names are registered at %d of the log, and should be %d at %d", s.state.Registered, end, theirs.Registered, theirs.End)
	}
	return nil
}

// apply carries out a group of the log.
func (s *Store) apply(_ uint64, g *group) error {
	t := s.begin(g.at)
	t.group = *g
	err := eachEntry(g.entries, func(e *entry) error {
		c := t.nameChange(e.name())
		c.newAt, c.new = s.entries.add(e.bytes())
		c.name = c.new.name()
		t.changed = append(t.changed, c)
		t.held += boolToInt(c.new.has(isHeld)) - boolToInt(c.old.has(isHeld))
		return nil
	})
	for at, o := range g.eachOutcome() {
		t.outcomes[o.ID] = int(at - g.outcomesAt)
	}
	if err == nil {
		err = t.account(int(g.outcomesAt-s.state.End) + len(g.outcomes) + len(g.entries))
	}
	if err != nil {
		return err
	}
	changes, err := t.changes()
	if err != nil {
		return err
	}
	s.publish(t)
	if s.observe != nil {
		s.observe(t.now, changes)
	}
	return nil
}

// changes tells what a transaction makes of registrations, for whom has not decided it.
func (t *tx) changes() (changes []storage.Change, err error) {
	if t.store.observe == nil {
		return nil, nil
	}
	var r record
	for _, c := range t.changed {
		var change storage.Change
		if c.old.has(isRegistered) {
			change.Before = c.old.registration()
		}
		if err := r.read(c.name, c.new); err != nil {
			return nil, err
		}
		if change.After = r.registration; !r.registered {
			change.After = foyer.Registration{Name: foyer.Name(c.name)}
		}
		switch {
		case change.Before == change.After || !r.registered && !c.old.has(isRegistered):
		case r.registered && c.old.has(isRegistered) && change.Before.RegisteredAt.Equal(change.After.RegisteredAt) && change.Before.Address == change.After.Address:
			change.Kind = storage.Extended
		default:
			if i := slices.IndexFunc(r.history, func(e storage.Event) bool { return e.Kind != storage.RenewedLate }); i >= 0 {
				change.Kind = r.history[i].Kind
			}
		}
		if change.Before.Name == "" {
			change.Before.Name = change.After.Name
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// isOurs reports whether the log has a transaction's group where it was to be appended, or one of somebody else that says
// the same.
func (t *tx) isOurs(end uint64) (bool, error) {
	if t.store.shared == nil {
		return end == t.next.End, nil
	}
	if end < t.next.End {
		return false, nil
	}
	b := make([]byte, len(t.encoded))
	_, err := t.store.log.ReadAt(b, int64(t.store.state.End))
	return string(b) == string(t.encoded), err
}

// fence appends an empty group where one is in doubt, so that this one does not come later.
func (s *Store) fence() error {
	t := s.begin(s.state.last)
	err := t.prepare()
	if err == nil {
		err = s.log.Append(t.batch())
	}
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// saveNames is how many names a piece has that Save is given, some 16 KB; their Update waits meanwhile.
const saveNames = 128

// Save keeps a snapshot of a shared log, so that what is in front of it need not be read again. Any goroutine may call it, and
// Updates go on meanwhile: each piece is as its names are at some time after the snapshot began, and the log says what has
// become of them since.
func (s *Store) Save() error {
	var summary state
	s.writing.Lock()
	summary.Snapshot = s.state.End
	s.writing.Unlock()
	return s.shared.Save(summary.Snapshot, func(yield func(string, []byte) bool) {
		for from, more := "", true; more; {
			key, b := from, []byte(nil)
			b, from, more = s.piece(from)
			seal(piecePlace(key), b)
			summary.Pieces++
			summary.Digest += uint64(binary.BigEndian.Uint32(b))
			if !yield(key, b) {
				return
			}
		}
	}, func() []byte {
		summary.End = summary.Snapshot
		return summary.encode()
	})
}

// OutcomesFrom returns the position of the first group whose outcomes may still be asked for. Any goroutine may call it.
func (s *Store) OutcomesFrom() uint64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.state.Outcomes
}

// piece returns the entries of names from one on, and the name at which the next piece begins.
func (s *Store) piece(from string) (b []byte, next string, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b = make([]byte, pieceHeader, 1<<14)
	n := 0
	for i := s.order.at(from); i < len(s.order.parts); i++ {
		p := s.order.parts[i]
		if n >= saveNames {
			return b, p.from, true
		}
		for _, r := range p.refs {
			if e := s.arena.entry(r); e.name() >= from {
				b = append(b, e.bytes()...)
				n++
			}
		}
	}
	return b, "", false
}

// retry runs fn, which appends, until nobody else was faster.
func (s *Store) retry(fn func() error) error {
	for range maxConflicts {
		err := fn()
		if s.shared == nil || !errors.Is(err, ErrConflict) {
			return err
		}
		if err := s.settle(); err != nil {
			return unavailable(err)
		}
	}
	return storage.Unavailable(fmt.Errorf("%w, again and again", ErrConflict))
}

var _ storage.Shared = (*Store)(nil)
