package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"foyer"
	"foyer/storage"
)

// MaxHold is the longest that a name is kept from being registered at a time.
const MaxHold = 10 * 365 * 24 * time.Hour

// An operation is a change that the operator asks for. It may be carried out more
// than once, like any function of a transaction.
type operation struct {
	name   foyer.Name // that it is about
	change func(*transaction) error
	done   chan error // of capacity 1
}

// operate has the writer carry out a change of what is kept of a name. The error
// wraps [storage.ErrUncertain] while it is not known what the database has of it.
func (s *Server) operate(ctx context.Context, name foyer.Name, change func(*transaction) error) error {
	o := &operation{name, change, make(chan error, 1)}
	select {
	case s.operations <- o:
	case <-s.stopped:
		return foyer.ErrUnavailable
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ping returns when the writer has answered, whether or not it can write: a
// registry that does not come to that for minutes is stuck. The error is ctx's if
// that ends first, and otherwise says that the server has stopped.
func (s *Server) Ping(ctx context.Context) error { return s.operate(ctx, "", nil) }

func (w *writer) operate(o *operation) error {
	if o.change == nil { // a Ping
		return nil
	}
	err := w.update(o.change)
	if errors.Is(err, storage.ErrUncertain) && !w.inDoubt(o.name) {
		// A hold, for which there is no effect.
		reg, _ := w.store.Find([]byte(o.name))
		w.doubtful[o.name] = reg.From
	}
	if err != nil && w.inDoubt(o.name) {
		return fmt.Errorf("%w: whether %q is registered cannot be said until the database can be written again", storage.ErrUncertain, o.name)
	}
	return err
}

// An Eviction is what [Server.Evict] did.
type Eviction struct {
	Ended *foyer.Registration // nil if the name was not registered
	Until time.Time           // until when nobody can register it, zero if everybody can
}

// Evicted is an [Eviction] as the admin interface writes it in JSON.
type Evicted struct {
	Ended *Row      `json:"ended"` // null if the name was not registered
	Until time.Time `json:"until,omitzero"`
}

// EvictedOf returns e as an Evicted.
func EvictedOf(e Eviction) Evicted {
	evicted := Evicted{Until: e.Until}
	if e.Ended != nil {
		evicted.Ended = new(RowOf(e.Ended))
	}
	return evicted
}

// Evict ends the registration of a name, whoever owns it, and if hold is not 0
// keeps the name from being registered for that long. Without a registration and
// without hold there is nothing to do: that is [foyer.ErrUnknownName]. The error
// wraps [foyer.ErrBusy] if too many names are held, [foyer.ErrUnavailable] if nothing
// can be written, and [storage.ErrUncertain] while it is not known what the
// database has of the name.
func (s *Server) Evict(ctx context.Context, name foyer.Name, hold time.Duration) (Eviction, error) {
	var e Eviction // the writer's until operate returns nil
	err := s.operate(ctx, name, func(t *transaction) (err error) {
		e, err = Evict(t, t.now.Wall, name, hold)
		if e.Ended != nil {
			t.effects = append(t.effects, effect{registration: *e.Ended, kind: storage.Evicted, was: e.Ended.From, ends: true})
		}
		return err
	})
	if err != nil {
		return Eviction{}, err
	}
	if !e.Until.IsZero() {
		s.log.Info("held back by the operator", "name", name, "until", e.Until)
	}
	return e, nil
}

// Evict is what Server.Evict does in a transaction, for a store without a server.
func Evict(tx storage.Tx, now time.Time, name foyer.Name, hold time.Duration) (e Eviction, err error) {
	reg, err := tx.Get(name)
	switch {
	case errors.Is(err, foyer.ErrUnknownName) && hold != 0:
	case err != nil:
		return Eviction{}, err
	default:
		e.Ended = &reg
		if err := tx.Apply(storage.Event{Kind: storage.Evicted, Time: now, Registration: reg}); err != nil {
			return Eviction{}, err
		}
	}
	if hold != 0 {
		e.Until = now.Add(hold)
		err = tx.Hold(storage.Hold{Name: name, Since: now, Until: e.Until})
	}
	return e, err
}

// Allow ends the hold on a name. It returns false if there is none.
func (s *Server) Allow(ctx context.Context, name foyer.Name) (bool, error) {
	held := false // the writer's until operate returns nil
	err := s.operate(ctx, name, func(t *transaction) (err error) {
		held, err = Allow(t, t.now.Wall, name)
		return err
	})
	if err != nil || !held {
		return false, err
	}
	s.log.Info("allowed by the operator", "name", name)
	return true, nil
}

// Allow is what Server.Allow does in a transaction, for a store without a server.
func Allow(tx storage.Tx, now time.Time, name foyer.Name) (held bool, err error) {
	h, held := tx.Held(name)
	if !held {
		return false, nil
	}
	return h.Until.After(now), tx.Hold(storage.Hold{Name: name})
}

// NotHeld returns the error that there is no hold to end.
func NotHeld(name foyer.Name) error {
	return foyer.Errorf(foyer.UnknownName, "the name %q is not held back", name)
}

// Hold implements [storage.Tx], and notes that what is held changes.
func (t *transaction) Hold(h storage.Hold) error {
	t.holds = true
	return t.Tx.Hold(h)
}

// refuseHeld refuses the REGISTER of a name that is held.
func (t *transaction) refuseHeld(name foyer.Name) *foyer.Error {
	h, held := t.Held(name)
	if !held || !h.Until.After(t.now.Wall) {
		return nil
	}
	return foyer.Errorf(foyer.Evicted, "the operator has taken this name off until %s", h.Until.Format(time.RFC3339))
}
