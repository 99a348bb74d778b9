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
	s.ended = newEndedNames()
	err := s.db.View(func(btx *bbolt.Tx) (err error) {
		if s.state, err = decodeState(btx.Bucket(bucketMeta).Get(keyState)); err != nil {
			return err
		}
		recent, endings, err := s.loadRooms(btx)
		if err != nil {
			return err
		}
		o := newOverlay()
		if err := o.replay(btx, &s.state, func(name string) uint64 { return recent[name] }); err != nil {
			return err
		}
		s.loadOverlay(o, endings)
		if err := s.loadAddresses(); err != nil {
			return err
		}
		return s.loadOutcomes(btx)
	})
	if err != nil {
		return damaged(err)
	}
	s.sweepStart = s.state.tail
	last := s.state.last
	s.last.Store(&last)
	return nil
}

// loadRooms builds the index of names from the records. It returns the
// positions of those records that include groups which replay will meet, and
// when the names ended that are not registered.
func (s *Store) loadRooms(btx *bbolt.Tx) (recent map[string]uint64, endings []nameEnding, err error) {
	var found state
	recent = map[string]uint64{}
	c := btx.Bucket(bucketRooms).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		r, err := decodeRecord(viewString(k), v, true)
		if err != nil {
			return nil, nil, err
		}
		found.counted(v)
		name := ""
		if r.registered {
			e := newEntry(r.current)
			if e == nil {
				return nil, nil, fmt.Errorf("%w: the record of %q", errMalformed, k)
			}
			s.names.put(e)
			name = e.name()
		} else {
			name = string(k)
			endings = append(endings, nameEnding{name, r.position, r.ending})
		}
		if r.position >= s.state.folded {
			recent[name] = r.position
		}
	}
	if found.records != s.state.records || found.digest != s.state.digest {
		return nil, nil, fmt.Errorf("%w: of %d records of rooms %d are found, or they are not the latest", errMalformed, s.state.records, found.records)
	}
	return recent, endings, nil
}

// A nameEnding is when a name ended that has not been registered since.
type nameEnding struct {
	name             string
	position, ending uint64
}

func (e nameEnding) compare(o nameEnding) int {
	return cmp.Or(cmp.Compare(e.position, o.position), cmp.Compare(e.ending, o.ending), strings.Compare(e.name, o.name))
}

// loadOverlay brings the indexes up to date with the end of the log. endings are
// those of the records.
func (s *Store) loadOverlay(o *overlay, endings []nameEnding) {
	s.pending = o.pending
	endings = slices.DeleteFunc(endings, func(e nameEnding) bool {
		p := o.pending.byName[e.name]
		return p != nil && (p.known || p.forget)
	})
	for name, p := range o.pending.byName {
		if !p.known {
			continue
		}
		if e := o.names.find(name); e != nil {
			s.names.put(e)
			continue
		}
		s.names.remove(name)
		if !p.forgotten() {
			endings = append(endings, nameEnding{name, p.position, p.ending})
		}
	}
	slices.SortFunc(endings, nameEnding.compare)
	for _, e := range endings {
		s.ended.add(e.name)
	}
}

func (s *Store) loadOutcomes(btx *bbolt.Tx) error {
	return eachGroup(btx, s.state.outcomes, s.state.tail, func(position uint64, g []byte) error {
		_, err := decodeGroup(position, g, visitor{outcome: func(o storage.Outcome) {
			s.outcomes.add(s.outcomes.slot(o.ID, position))
		}})
		return err
	})
}

// loadAddresses builds the index of addresses from that of names.
func (s *Store) loadAddresses() error {
	n := uint64(0)
	for e := range s.names.all {
		if other := s.addresses.find(e.address()); other != nil {
			return fmt.Errorf("%w: %q and %q are both registered at %s", errMalformed, e.name(), other.name(), e.address())
		}
		s.addresses.put(e)
		n++
	}
	if n != s.state.registered {
		return fmt.Errorf("%w: of %d registrations %d are found", errMalformed, s.state.registered, n)
	}
	s.count.Store(int64(n))
	return nil
}
