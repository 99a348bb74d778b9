package bolt

import (
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

// An overlay is what the end of the log has to say about the rooms: the events
// that are still to be folded. Laid over the records of the rooms it gives the
// registry as it is, without any index of the rest. It is bounded by the pace of
// the fold.
type overlay struct {
	pending *pendingEvents
}

func newOverlay() *overlay { return &overlay{newPendingEvents()} }

// replay reads the groups that have not been folded altogether. included returns
// the position of the last group that the record of a name includes, or 0 if
// there is no record: what the log says up to there is in the record already.
func (o *overlay) replay(btx *bbolt.Tx, s *state, included func(name string) uint64) error {
	return eachGroup(btx, s.folded, s.tail, func(position uint64, g []byte) error {
		endings, block, begun := uint64(0), uint32(0), false
		isNew := func(name string) bool {
			if included(name) >= position {
				return false
			}
			if !begun {
				block, begun = o.pending.begin(position, len(g)), true
			}
			return true
		}
		_, err := decodeGroup(position, g, visitor{
			event: func(name string, e storage.Event, encoded []byte) {
				if e.Kind.Ends() {
					endings++
				}
				if isNew(name) {
					o.pending.add(block, name, endings, encoded)
				}
			},
			forget: func(name string) {
				if isNew(name) {
					o.pending.forget(block, name)
				}
			},
		})
		return err
	})
}

// find returns the registration of a name, or ok false.
func (o *overlay) find(btx *bbolt.Tx, name string) (r foyer.Registration, ok bool, err error) {
	return o.findWith(btx, name, o.pending.get(name, 0))
}

// findWith is find for a name of which p is what is pending, or nil.
func (o *overlay) findWith(btx *bbolt.Tx, name string, p *pendingName) (r foyer.Registration, ok bool, err error) {
	if p != nil && p.known {
		return p.current, p.registered(), nil
	}
	b := btx.Bucket(bucketRooms).Get(viewBytes(name))
	if b == nil {
		return foyer.Registration{}, false, nil
	}
	var rec record
	err = rec.decode(strings.Clone(name), slices.Clone(b), recordCurrent)
	return rec.current, rec.registered, err
}

// list is List on the records and what lies over them.
func (o *overlay) list(btx *bbolt.Tx, after string, limit int) (list []foyer.Registration, err error) {
	mergeNames(btx, o.pending, after, func(name string, p *pendingName) (more bool) {
		if len(list) == limit {
			return false
		}
		var r foyer.Registration
		var ok bool
		if r, ok, err = o.findWith(btx, name, p); ok {
			list = append(list, r)
		}
		return err == nil
	})
	return list, err
}
