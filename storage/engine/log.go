package engine

import (
	"errors"
	"io"
)

// A Log is what a backend provides: it keeps the groups of an engine, one behind the other, and its snapshot, and looks into
// neither. The engine calls methods one at a time, but for Check, and ReadAt while an engine is opened. The position of
// a group is the number of bytes that were appended before it.
type Log interface {
	// ReadAt reads what was appended from a position on.
	io.ReaderAt

	// Load returns the State of the last Batch, nil if there was none, and where the log ends. It shows every piece of
	// the snapshot once: workers may show pieces side by side, each to a function of its own that newWorker returns.
	// Neither key nor value are valid after the call.
	Load(newWorker func() func(key string, value []byte) error) (state []byte, end uint64, err error)

	// Append makes a batch durable, all of it or nothing. If it returns nil it has; if the error wraps
	// storage.ErrUncertain it may have, and the next End tells; if it wraps ErrConflict somebody else has appended; after
	// any other error nothing has happened, now or later.
	Append(b *Batch) error

	// End returns the position at which the next group is to be appended. After an uncertain Append it finds out what
	// became of that: if the end is behind the batch, the batch is durable.
	End() (uint64, error)

	// Check returns an error that wraps storage.ErrRemoved if what is appended now could not be found after a restart.
	// Any goroutine may call it.
	Check() error

	// Close releases the log. Its error wraps storage.ErrRemoved if Check's does.
	Close() error
}

// ErrConflict means that a group could not be appended because the log does not end where the group was to begin.
var ErrConflict = errors.New("the log does not end where it was thought to")

// A Batch is what is appended at once. A log does not keep the memory of it.
type Batch struct {
	Position uint64            // where the log ends and the group begins
	Group    []byte            // the engine's are never empty: without one, End does not tell what became of an uncertain batch
	Pieces   map[string][]byte // of the snapshot, by key; nil takes one away
	State    []byte            // takes the place of the one before
	Needed   uint64            // what is in front of this position will not be read again; of a SharedLog, but for its snapshot
}
