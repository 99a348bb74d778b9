package discovery

import (
	"errors"
	"maps"
	"slices"

	"foyer"
)

// deny is the [denial] of a request whose transaction has changed nothing: it is told
// so, unless an earlier copy of it may have changed something. What may have
// happened is not denied; its retries will be told.
func (w *writer) deny(r *request) *foyer.Error {
	if w.inDoubt(foyer.Name(r.name)) || r.recorded() && w.store.Recorded(r.UUID) {
		return nil
	}
	return errUnavailable
}

var errUnavailable = &foyer.Error{Code: foyer.Unavailable, Text: "the registry cannot write to its database now; nothing was changed"}

// inDoubt reports whether it is not known what the store has of a name.
func (w *writer) inDoubt(name foyer.Name) bool {
	_, doubtful := w.doubtful[name]
	return doubtful
}

// settle finds out what an uncertain transaction has left behind, so that no
// registration is without the lease that it should have. Such a lease begins
// anew.
func (w *writer) settle() error {
	if !w.uncertain {
		return nil
	}
	t := transaction{server: w.Server}
	err := w.transact(&t, func(t *transaction) error {
		for _, name := range slices.Sorted(maps.Keys(w.doubtful)) {
			was := w.doubtful[name]
			reg, err := t.Get(name)
			switch {
			case errors.Is(err, foyer.ErrUnknownName):
				t.effects = append(t.effects, effect{registration: foyer.Registration{Name: name}, was: was, ends: true})
			case err != nil:
				return err
			default:
				reg.LeaseEnd = t.now.Lease + tick + reg.TTL
				t.effects = append(t.effects, effect{registration: reg, was: was, asked: w.notAsked()})
			}
		}
		return nil
	})
	if err == nil {
		w.uncertain, w.doubtful = false, nil
	}
	return err
}
