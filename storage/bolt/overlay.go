package bolt

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"foyer/room"
	"foyer/storage"
)

// An overlay is what the end of the log has to say about the rooms: the names
// that are still to be folded, and the registrations of those of them that have
// one. Laid over the records of the rooms it gives the registry as it is,
// without any index of the rest. It is bounded by the pace of the fold.
type overlay struct {
	pending *pendingNames
	names   index
	entries *appender // writes those of names
}

func newOverlay(entries *appender) *overlay {
	o := &overlay{pending: newPendingNames(), entries: entries}
	o.names.init(entries.arena, false)
	return o
}

// replay reads the groups that have not been folded altogether. included returns
// the position of the last group that the record of a name includes, or 0 if
// there is no record: what the log says up to there is in the record already.
func (o *overlay) replay(btx *bbolt.Tx, s *state, included func(name string) uint64) error {
	return eachGroup(btx, s.folded, s.tail, func(position uint64, g []byte) error {
		endings, bad := uint64(0), false
		_, err := decodeGroup(position, g, visitor{
			event: func(name string, e storage.Event, encoded []byte) {
				if e.Kind.Ends() {
					endings++
				}
				if p := o.touch(name, position, included); p != nil && !o.event(p, endings, e, encoded) {
					bad = true
				}
			},
			forget: func(name string) {
				if p := o.touch(name, position, included); p != nil {
					p.forgetAt(position)
				}
			},
		})
		if bad {
			err = cmp.Or(err, fmt.Errorf("%w: a registration in the log", errMalformed))
		}
		return err
	})
}

// touch returns the pending name to apply the group at a position to, or nil if
// the name's record includes it.
func (o *overlay) touch(name string, position uint64, included func(string) uint64) *pendingName {
	p := o.pending.byName[name]
	if p == nil {
		if included(name) >= position {
			return nil
		}
		p = o.pending.touch(strings.Clone(name))
	}
	p.position = position
	return p
}

func (o *overlay) event(p *pendingName, endings uint64, e storage.Event, encoded []byte) bool {
	if e.Kind.Remembered() {
		p.remember(bytes.Clone(encoded))
	}
	switch {
	case e.Kind <= storage.Extended:
		at, after := o.entries.add(&e.Registration)
		if after == nil {
			return false
		}
		o.names.put(at, after)
		p.known = true
	case e.Kind.Ends():
		o.names.remove(p.name)
		p.known, p.ending = true, endings
	}
	return true
}

// find returns the registration of a name, or ok false.
func (o *overlay) find(btx *bbolt.Tx, name string) (r room.Registration, ok bool, err error) {
	if p := o.pending.byName[name]; p != nil && p.known {
		if e := o.names.find(name); e != nil {
			return e.registration(), true, nil
		}
		return room.Registration{}, false, nil
	}
	b := btx.Bucket(bucketRooms).Get(viewBytes(name))
	if b == nil {
		return room.Registration{}, false, nil
	}
	var rec record
	err = rec.decode(strings.Clone(name), slices.Clone(b), recordCurrent)
	return rec.current, rec.registered, err
}

// list is List on the records and what lies over them.
func (o *overlay) list(btx *bbolt.Tx, after string, limit int) (list []room.Registration, err error) {
	mergeNames(btx, o.pending, after, func(name string) (more bool) {
		if len(list) == limit {
			return false
		}
		var r room.Registration
		var ok bool
		if r, ok, err = o.find(btx, name); ok {
			list = append(list, r)
		}
		return err == nil
	})
	return list, err
}
