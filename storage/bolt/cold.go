package bolt

import (
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

// coldRooms are the registrations as the file has them, for Find while there is
// no index: what the end of the log says, laid over the records. They are
// bounded by the pace of the fold, as an overlay is, but keep no histories.
//
// All of every page that is read is checked, so a damaged page is an error. The
// one thing that cannot be told is a page of rooms that is whole but old, because
// the disk has lost a later write: names on it are found, or are unknown, as they
// once were. Only the sum over all records shows that.
type coldRooms struct {
	found   *examination
	entries appender
	names   index           // of the names that the log registers
	gone    map[string]bool // the names that it ends
}

func newColdRooms(found *examination) *coldRooms {
	c := &coldRooms{found: found, entries: appender{arena: new(arena)}, gone: map[string]bool{}}
	c.names.init(c.entries.arena, false)
	return c
}

// replay reads the end of the log. What it says comes after, or is, what the
// record of a name says, so there is no need to ask how much of it that includes.
func (c *coldRooms) replay(btx *bbolt.Tx) error {
	s := &c.found.state
	err := eachGroup(btx, s.folded, s.tail, func(position uint64, g []byte) error {
		bad := false
		_, err := decodeGroup(position, g, visitor{event: func(name string, e storage.Event, _ []byte) {
			switch {
			case e.Kind <= storage.Extended:
				at, entry := c.entries.add(&e.Registration)
				if bad = bad || entry == nil; !bad {
					c.names.put(at, entry)
					delete(c.gone, name)
				}
			case e.Kind.Ends():
				c.names.remove(name)
				c.gone[strings.Clone(name)] = true
			}
		}})
		if err == nil && bad {
			err = fmt.Errorf("%w: a registration in the log", errMalformed)
		}
		return err
	})
	if err != nil {
		return damaged(err)
	}
	return nil
}

// find returns the registration of a name or foyer.ErrUnknownName.
func (c *coldRooms) find(name string) (foyer.Registration, error) {
	if e := c.names.find(name); e != nil {
		return e.registration(), nil
	}
	if c.gone[name] {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	b, err := c.found.look(name)
	var rec record
	if err == nil && b != nil {
		err = rec.decode(name, b, recordCurrent)
	}
	if err != nil {
		return foyer.Registration{}, unavailable(asDamage(err))
	}
	if !rec.registered {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return rec.current, nil
}

// findCold is Find while there is no index.
func (s *Store) findCold(name []byte) (foyer.Registration, error) {
	// What it reads is not written over while it holds mu: an Update could use
	// pages of this state only after another one has published the next.
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c := s.cold.Load(); c != nil {
		return c.find(string(name))
	}
	return s.findIndexed(name)
}
