package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"foyer"
	"foyer/storage"
)

// ImportBatch is how many registrations of a dump become one transaction, for
// which everybody who changes something waits: half a second, and 150 MB. Among
// several of them, whoever waits gets a turn.
const ImportBatch = 1 << 16

// Imported is how many registrations of a dump were new, and how many were
// there already.
type Imported struct {
	New   int `json:"new"`
	Known int `json:"known"`
}

// Import registers what a dump says, on the operator's word: neither quotas nor
// authorized keys are asked. See the function Import; other errors are as of
// [Server.Evict].
func (s *Server) Import(ctx context.Context, d *Dump) (Imported, error) {
	asked := s.clock.now().Add(idWindow).UnixMilli()
	done, err := Import(d, func(fn func(storage.Tx, storage.Instant) error) error {
		return s.operate(ctx, d.rows[0].Name, func(t *transaction) error { return fn(&importing{t, asked}, t.now) })
	})
	if errors.Is(err, storage.ErrUncertain) {
		err = fmt.Errorf("%w: what was imported cannot be said until the database can be written again", storage.ErrUncertain)
	}
	switch {
	case err == nil:
		s.log.Info("imported by the operator", "rooms", done.New, "known", done.Known)
	case done.New > 0:
		s.log.Error("imported in part by the operator", "rooms", done.New, "known", done.Known, "err", err)
	}
	return done, err
}

// importing is a transaction whose registrations get leases, which no request
// that was sent before changes.
type importing struct {
	*transaction
	asked int64
}

// Apply implements [storage.Tx].
func (t *importing) Apply(e storage.Event) error {
	t.effects = append(t.effects, effect{registration: e.Registration, kind: e.Kind, asked: t.asked})
	return t.transaction.Apply(e)
}

// Import registers what a dump says in a store that update changes. What is
// registered already exactly so is passed over; if anything else is in the way of
// a line the error is a [*LineError]. All lines are checked before the first is
// registered, in transactions of ImportBatch each: if one of these fails after
// all, those before it stay. Leases begin anew. Histories begin now, with an event
// that comes from nobody: what they already hold of a name may be later than when
// it was registered elsewhere.
func Import(d *Dump, update func(func(storage.Tx, storage.Instant) error) error) (done Imported, err error) {
	var c checked
	for rows := range slices.Chunk(d.rows, ImportBatch) {
		var batch checked
		err := update(func(tx storage.Tx, now storage.Instant) (err error) {
			if batch, err = check(tx, now, rows); err == nil {
				err = errUnchanged
			}
			return err
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return done, err
		}
		c.refused, c.n = cmp.Or(c.refused, batch.refused), c.n+batch.n
		c.conflicts = append(c.conflicts, batch.conflicts[:min(len(batch.conflicts), MaxConflicts-len(c.conflicts))]...)
	}
	if err := c.err(); err != nil {
		return done, err
	}
	for rows := range slices.Chunk(d.rows, ImportBatch) {
		var batch checked
		err := update(func(tx storage.Tx, now storage.Instant) (err error) {
			if batch, err = check(tx, now, rows); err == nil {
				err = batch.err()
			}
			if err == nil {
				err = batch.register(tx, now)
			}
			return err
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return done, err
		}
		done.New += len(batch.rows)
		done.Known += len(rows) - len(batch.rows)
	}
	return done, nil
}

// checked is what became of checking lines.
type checked struct {
	rows    []*dumped  // those that are to be registered
	refused *LineError // the first that cannot be
	n       int        // how many cannot be

	conflicts []Conflict // the first of them
}

func (c *checked) err() error {
	switch {
	case c.refused == nil:
		return nil
	case c.n > 1:
		err := fmt.Errorf("%w, and %d more lines are in conflict", c.refused.Err, c.n-1)
		return &LineError{Line: c.refused.Line, Err: err, Conflicts: c.conflicts}
	}
	return c.refused
}

func check(tx storage.Tx, now storage.Instant, rows []dumped) (c checked, err error) {
	for i := range rows {
		obstacle, known, err := rows[i].check(tx, now)
		switch {
		case err != nil:
			return c, err
		case obstacle != nil:
			c.n++
			c.refused = cmp.Or(c.refused, &LineError{Line: rows[i].line, Err: obstacle})
			if len(c.conflicts) < MaxConflicts {
				c.conflicts = append(c.conflicts, Conflict{rows[i].line, obstacle.Error()})
			}
		case !known:
			c.rows = append(c.rows, &rows[i])
		}
	}
	return c, nil
}

func (c *checked) register(tx storage.Tx, now storage.Instant) error {
	if len(c.rows) == 0 {
		return errUnchanged
	}
	for _, row := range c.rows {
		r := row.Registration
		if r.TTL > 0 {
			r.LeaseEnd = now.Lease + tick + r.TTL
		}
		if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: r}); err != nil {
			return err
		}
	}
	return nil
}

// check says what is in the way of registering r, or that it is registered.
func (r *dumped) check(tx storage.Tx, now storage.Instant) (obstacle error, known bool, err error) {
	there, err := tx.Get(r.Name)
	switch {
	case err == nil:
		if how := r.difference(&there); how != "" {
			return fmt.Errorf("%q is registered already, %s", r.Name, how), false, nil
		}
		return nil, true, nil
	case !errors.Is(err, foyer.ErrUnknownName):
		return nil, false, err
	}
	holder, err := tx.NameAt(r.Address)
	switch {
	case err == nil:
		return fmt.Errorf("%s is registered already, for %q", r.Address, holder), false, nil
	case !errors.Is(err, foyer.ErrUnknownName):
		return nil, false, err
	}
	if h, held := tx.Held(r.Name); held && h.Until.After(now.Wall) {
		return fmt.Errorf("%q was evicted until %s", r.Name, h.Until.Format(time.RFC3339)), false, nil
	}
	return nil, false, nil
}

// difference says in what a registration that is there is another one, if it is.
func (r *dumped) difference(there *foyer.Registration) string {
	switch {
	case there.Address != r.Address:
		return "at " + string(there.Address)
	case there.Owner != r.Owner:
		return "with another owner"
	case !there.RegisteredAt.Equal(r.RegisteredAt):
		return "since " + there.RegisteredAt.Format(time.RFC3339Nano)
	case there.TTL != r.TTL:
		return fmt.Sprintf("with a ttl of %.0f s", there.TTL.Seconds())
	case there.Exits != r.Exits:
		return "with other exits"
	case there.From != r.From:
		return fmt.Sprintf("from %v", there.From)
	}
	return ""
}
