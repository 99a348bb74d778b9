package bolt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// load builds the indexes from the file.
func (s *Store) load() error {
	s.names.init(false)
	s.addresses.init(true)
	s.outcomes.init()
	s.pending = newPendingNames()
	s.ended = newEndedNames()
	err := s.db.View(func(btx *bbolt.Tx) (err error) {
		if s.state, err = decodeState(btx.Bucket(bucketMeta).Get(keyState)); err != nil {
			return err
		}
		recent, err := s.loadRooms(btx)
		if err != nil {
			return err
		}
		if err := s.loadOutcomes(btx); err != nil {
			return err
		}
		return s.replay(btx, recent)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
	}
	s.sweepStart = s.state.tail
	last := s.state.last
	s.last.Store(&last)
	return s.loadAddresses()
}

// loadRooms builds the index of names from the records. It returns the
// positions of those records that include groups which replay will meet.
func (s *Store) loadRooms(btx *bbolt.Tx) (recent map[string]uint64, err error) {
	type ending struct {
		name             string
		position, ending uint64
	}
	var found state
	var endings []ending
	recent = map[string]uint64{}
	c := btx.Bucket(bucketRooms).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		r, err := decodeRecord(viewString(k), v, true)
		if err != nil {
			return nil, err
		}
		found.counted(v)
		name := ""
		if r.registered {
			e := newEntry(r.current)
			if e == nil {
				return nil, fmt.Errorf("%w: the record of %q", errMalformed, k)
			}
			s.names.put(e)
			name = e.name()
		} else {
			name = string(k)
			endings = append(endings, ending{name, r.position, r.ending})
		}
		if r.position >= s.state.folded {
			recent[name] = r.position
		}
	}
	if found.records != s.state.records || found.digest != s.state.digest {
		return nil, fmt.Errorf("%w: of %d records of rooms %d are found, or they are not the latest", errMalformed, s.state.records, found.records)
	}
	slices.SortFunc(endings, func(a, b ending) int {
		return cmp.Or(cmp.Compare(a.position, b.position), cmp.Compare(a.ending, b.ending))
	})
	for _, e := range endings {
		s.ended.add(e.name)
	}
	return recent, nil
}

func (s *Store) loadOutcomes(btx *bbolt.Tx) error {
	return eachGroup(btx, s.state.outcomes, s.state.tail, func(position uint64, g []byte) error {
		_, err := decodeGroup(position, g, visitor{outcome: func(o storage.Outcome) {
			s.outcomes.add(s.outcomes.slot(o.ID, position))
		}})
		return err
	})
}

// replay applies the groups that have not been folded altogether. Of a name
// whose record includes a group already, the group has nothing new to say.
func (s *Store) replay(btx *bbolt.Tx, recent map[string]uint64) error {
	return eachGroup(btx, s.state.folded, s.state.tail, func(position uint64, g []byte) error {
		g = slices.Clone(g) // the pending names keep parts of it
		endings := uint64(0)
		var bad error
		_, err := decodeGroup(position, g, visitor{
			event: func(name string, e storage.Event, encoded []byte) {
				if e.Kind.Ends() {
					endings++
				}
				if recent[name] >= position {
					return
				}
				if err := s.replayEvent(position, endings, name, e, encoded); err != nil {
					bad = err
				}
			},
			forget: func(name string) {
				if recent[name] < position {
					name = strings.Clone(name)
					s.ended.remove(name)
					s.pending.touch(name).forgetAt(position)
				}
			},
		})
		return cmp.Or(err, bad)
	})
}

func (s *Store) replayEvent(position, endings uint64, name string, e storage.Event, encoded []byte) error {
	p := s.pending.byName[name]
	if p == nil {
		p = s.pending.touch(strings.Clone(name))
	}
	p.position = position
	if e.Kind.Remembered() {
		p.remember(slices.Clone(encoded))
	}
	switch {
	case e.Kind <= storage.Extended:
		after := newEntry(e.Registration)
		if after == nil {
			return fmt.Errorf("%w: an event of %q", errMalformed, name)
		}
		s.names.put(after)
		s.ended.remove(p.name)
	case e.Kind.Ends():
		p.ending = endings
		s.names.remove(name)
		s.ended.remove(p.name)
		s.ended.add(p.name)
	}
	return nil
}

// loadAddresses builds the index of addresses from that of names.
func (s *Store) loadAddresses() error {
	n := int64(0)
	for e := range s.names.all {
		if other := s.addresses.find(e.address()); other != nil {
			return fmt.Errorf("%w: %q and %q are both registered at %s", storage.ErrDamaged, e.name(), other.name(), e.address())
		}
		s.addresses.put(e)
		n++
	}
	s.count.Store(n)
	return nil
}
