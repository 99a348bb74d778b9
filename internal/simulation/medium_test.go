package simulation

import (
	"errors"

	"foyer/storage"
	"foyer/storage/storetest"
)

// A medium is what a registry leaves behind when it ends.
type medium interface {
	// open closes the store that was open, if any, and opens one on what there
	// is.
	open() (storage.Store, error)

	// powerFails runs update, in which the power fails: before it is durable, or
	// behind that. Its error is that of update. The store that is open is of no
	// use from then on.
	powerFails(durable bool, update func() error) error

	close()
}

// memory is the medium of a [storetest.Model].
type memory struct {
	model *storetest.Model
	torn  bool // in a power failure, transactions that are not done in one
}

func newMemory(s storetest.Sabotage) *memory { return &memory{storetest.NewModel(s), s.SplitIndexes} }

func (m *memory) open() (storage.Store, error) {
	m.model = m.model.Reopen()
	return m.model, nil
}

func (m *memory) powerFails(durable bool, update func() error) error {
	switch {
	case m.torn:
		m.model.Fail(storetest.Torn)
	case durable:
		m.model.Fail(storetest.Kept)
	default:
		m.model.Fail(storetest.Lost)
	}
	if err := update(); !errors.Is(err, storage.ErrUncertain) {
		// The service gave up the transaction, as nothing was to be written. The
		// fault must not wait for the next one.
		_ = m.model.Update(m.model.Last(), func(storage.Tx) error { return nil })
		return err
	}
	return nil
}

func (m *memory) close() { m.model.Close() }
