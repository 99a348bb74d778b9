package discovery

import (
	"errors"
	"time"

	"foyer"
	"foyer/storage"
)

// catchUp ends leases and writes checkpoints, as many of each as a transaction
// may. If that leaves some the writer comes back to it as soon as it has served
// those who wait: neither holds up the other for longer than that.
func (w *writer) catchUp() {
	more := w.expire()
	w.behind = w.keepTime() || more
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

// keepTime writes the ends of long leases that were renewed, and with them the
// lease clock itself, every checkpointEvery: without leases there is nothing
// to write. It reports whether there is more of it.
func (w *writer) keepTime() (more bool) {
	now := w.clock.leaseNow()
	if !w.checkpointing {
		if now-w.checkpointed < checkpointEvery || w.leases.len() == 0 {
			return false
		}
		// From here on, so that the next round begins in time if this one takes long.
		w.checkpointing, w.checkpointed = true, now
	}
	w.ends = w.leases.checkpoints(w.ends[:0], expiryBatch)
	err := w.update(func(t *transaction) error {
		for _, e := range w.ends {
			reg, err := t.Get(e.name)
			if errors.Is(err, foyer.ErrUnknownName) || err == nil && reg.Address != e.addr {
				continue
			}
			if err != nil {
				return err
			}
			reg.LeaseEnd = e.end
			if err := t.Apply(storage.Event{Kind: storage.Extended, Time: t.now.Wall, Registration: reg}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.leases.recheck(w.ends)
		return false
	}
	w.checkpointing = len(w.ends) == expiryBatch
	return w.checkpointing
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
