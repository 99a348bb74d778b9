package discovery

import (
	"errors"
	"time"

	"foyer"
	"foyer/storage"
)

// A restored database knows nothing of the requests that were carried out after the
// backup was made. So that a late copy of one is not carried out again, requests with
// ids from before the restoration are refused. When that was is kept as an outcome,
// which lasts as long as it is needed: until such ids are too old anyway. Its id is one of
// a few that no request can have, since a backup may hold that of an earlier restoration.
const restorations = 16

func restorationID(n int) foyer.ID { return foyer.ID{len(foyer.ID{}) - 1: byte(n)} }

// reserved reports whether an id is one of restorationID's: practically the Nil UUID.
func reserved(id foyer.ID) bool {
	last := len(id) - 1
	n := id[last]
	id[last] = 0
	return id == foyer.ID{} && n < restorations
}

var errRestored = &foyer.Error{Code: foyer.StaleRequest, Text: "the id is from before the registry was restored from a backup"}

// checkRestored refuses ids that may have been used before the database was restored,
// and those that are none of a request's.
func (r *request) checkRestored(restored int64) *foyer.Error {
	switch {
	case r.ID != nil && reserved(r.UUID):
		return errIDReused
	case r.isV7() && r.idTime() < restored:
		return errRestored
	}
	return nil
}

// MarkRestored notes in a database that it was restored from a backup at a time:
// requests with a version 7 id from before are refused, but for retries of those that
// it remembers.
func MarkRestored(tx storage.Tx, at time.Time) error {
	for n := range restorations {
		o := storage.Outcome{ID: restorationID(n), Reply: []byte(at.UTC().Format(time.RFC3339Nano))}
		if _, ok, err := tx.Outcome(o.ID); err != nil {
			return err
		} else if !ok {
			return tx.Record(o)
		}
	}
	return errors.New("the database was restored too often within ten minutes")
}

// loadRestored finds out when the database was last restored, if that matters still.
func (w *writer) loadRestored() error {
	var ids []foyer.ID
	for n := range restorations {
		if id := restorationID(n); w.store.Recorded(id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	err := w.store.Update(w.clock.instant(), func(tx storage.Tx) error {
		for _, id := range ids {
			o, _, err := tx.Outcome(id)
			if err != nil {
				return err
			}
			if at, err := time.Parse(time.RFC3339Nano, string(o.Reply)); err == nil {
				w.restored = max(w.restored, at.UnixMilli())
			}
		}
		return errUnchanged
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return err
}
