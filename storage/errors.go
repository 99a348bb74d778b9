package storage

import (
	"errors"
	"fmt"

	"foyer"
)

// Failures of [Store.Update].
var (
	// ErrUncertain means that a transaction may or may not have become
	// durable, and that the store could not find out. The requests in it must
	// go unanswered: their retries will be told what became of them.
	ErrUncertain = errors.New("the transaction may or may not be durable")

	// ErrMisfit means that an event contradicts the registrations. It is a
	// fault of the caller.
	ErrMisfit = errors.New("the event does not fit the registrations")
)

// ErrRemoved means that the database was removed under a Store that is open, or that
// another one is in its place.
var ErrRemoved = errors.New("the database was removed or replaced")

// ErrDiverged means that what others have written does not go on from what a [Shared]
// was loaded from, as after its place was restored from a backup, or that it has fallen
// too far behind. It is of no more use and must be opened anew.
var ErrDiverged = errors.New("the log is not the one that was read")

// Failures of opening a store; each is wrapped with the path and the reason.
var (
	ErrLocked      = errors.New("another process holds the database")
	ErrNotDatabase = errors.New("not a Foyer database")
	ErrNewerFormat = errors.New("the database was written by a newer Foyer")
	ErrOlderFormat = errors.New("the database was written by an older Foyer; dump it with that one and import the dump into a new database")
	ErrDamaged     = errors.New("the database is damaged")
)

// Unavailable wraps a failure of the storage so that it is
// [foyer.ErrUnavailable] to callers and keeps its cause.
func Unavailable(cause error) error {
	return fmt.Errorf("%w: %w", foyer.ErrUnavailable, cause)
}
