package discovery

import (
	"errors"
	"time"

	"foyer"
	"foyer/storage"
)

// catchUp ends leases, as many as a transaction may. If that leaves some the writer
// comes back to it as soon as it has served those who wait: neither holds up the other
// for longer than that. Which leases there are must be known first: one that seems to
// have run out may have begun anew in a transaction in doubt.
func (w *writer) catchUp() {
	if w.behind = false; w.settle() != nil {
		return
	}
	w.behind = w.expire()
	w.keepTime(checkpointEvery)
}

// always is ready.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// expire ends leases that have run out, and reports whether there are more.
func (w *writer) expire() (more bool) {
	now := w.clock.leaseNow()
	w.names = w.leases.expire(w.names[:0], now, expiryBatch)
	more = w.leases.behind(now)
	if len(w.names) == 0 {
		return more
	}
	err := w.update(func(t *transaction) error {
		for _, name := range w.names {
			reg, err := t.Get(name)
			if errors.Is(err, foyer.ErrUnknownName) {
				reg.Name = name
				t.effects = append(t.effects, effect{registration: reg, ends: true})
				continue
			}
			if err != nil {
				return err
			}
			if err := t.end(&reg, storage.Expired); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.leases.restore(w.names, now)
		return false
	}
	return more
}

// end ends a registration by the registry's own decision.
func (t *transaction) end(reg *foyer.Registration, kind storage.Kind) error {
	t.effects = append(t.effects, effect{registration: *reg, kind: kind, was: reg.From, ends: true})
	return t.Apply(storage.Event{Kind: kind, Time: t.now.Wall, Registration: *reg})
}

// keepTime writes the lease clock if that was not done for a while: what is not written
// has not passed when the registry is killed. Without leases that does not matter.
func (w *writer) keepTime(every time.Duration) {
	if w.leases.len() > 0 && w.clock.leaseNow()-w.store.Last().Lease >= every {
		_ = w.update(func(*transaction) error { return nil })
	}
}

// noteLate writes the late renewals of the last tick into the names' histories.
func (w *writer) noteLate() {
	late := make([]foyer.Registration, len(w.late)) // nobody else takes any out
	if len(late) == 0 {
		return
	}
	for i := range late {
		late[i] = <-w.late
	}
	_ = w.update(func(t *transaction) error {
		for i := range late {
			now, err := t.Get(late[i].Name)
			if errors.Is(err, foyer.ErrUnknownName) || err == nil && now.Address != late[i].Address {
				continue
			}
			if err != nil {
				return err
			}
			if err := t.Apply(storage.Event{Kind: storage.RenewedLate, Time: t.now.Wall, Registration: now}); err != nil {
				return err
			}
		}
		return nil
	})
}

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
