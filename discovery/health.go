package discovery

import (
	"errors"
	"time"

	"foyer/storage"
)

// noteFailure notes that the store cannot be written, and logs why when that
// begins.
func (w *writer) noteFailure(err error) {
	w.failed = time.Now()
	removed := errors.Is(err, storage.ErrRemoved)
	if w.failing.Swap(true) && (w.removed || !removed) {
		return
	}
	what := "cannot write to the store; look-ups go on"
	if removed {
		w.removed = true
		what = "nothing is written until the database is put back; `registry dump` prints what was registered, as long as this registry runs"
	}
	w.log.Error(what, "err", err)
}

// noteSuccess ends what noteFailure has begun.
func (w *writer) noteSuccess() {
	w.removed = false
	if w.failing.Swap(false) {
		w.log.Info("writing to the store again")
	}
}

// probe writes nothing to a store that has failed, to see whether that is possible
// again, if nobody else has tried for a while.
func (w *writer) probe() {
	if !w.failing.Load() || time.Since(w.failed) < probeEvery {
		return
	}
	t := transaction{server: w.Server}
	_ = w.transact(&t, func(*transaction) error { return nil })
}

// checkStore notices that the database was removed, or put back, when nobody
// writes.
func (w *writer) checkStore() {
	if err := w.store.Check(); err != nil {
		w.noteFailure(err)
	} else if w.removed {
		w.noteSuccess()
	}
}
