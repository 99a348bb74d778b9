package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"unsafe"

	"foyer/storage/engine"
)

var _ engine.Log = (*MemoryLog)(nil)

// A MemoryLog is an [engine.Log] in memory, on which faults can be switched on. It
// is as strict as the contract lets it be: what is not needed any more is gone at
// once, and what it shows is overwritten when it has been looked at. What it
// keeps outlives it, as a file outlives the process that wrote it.
//
// It is bounded by what is appended and still needed, and by the pieces.
type MemoryLog struct {
	m      *memory
	closed bool // guarded by m.mu, as is down
	down   bool
}

// memory is what a disk would hold.
type memory struct {
	mu     sync.Mutex // guards what follows
	head   uint64     // position of the first byte of log
	log    []byte
	pieces map[string][]byte // values never change
	state  []byte
	faults []Fault
	shared *shared // nil but for a SharedLog
}

// NewMemoryLog returns an empty log.
func NewMemoryLog() *MemoryLog { return &MemoryLog{m: &memory{pieces: map[string][]byte{}}} }

// Again returns another log on what l keeps, as another process would have: if
// both append, the one that comes later gets [engine.ErrConflict].
func (l *MemoryLog) Again() *MemoryLog { return &MemoryLog{m: l.m} }

// Copy returns a log with a copy of what l keeps, as l's process would leave it
// if it were killed now. It has no faults.
func (l *MemoryLog) Copy() *MemoryLog {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return &MemoryLog{m: &memory{
		head: l.m.head, log: bytes.Clone(l.m.log), pieces: maps.Clone(l.m.pieces), state: bytes.Clone(l.m.state),
	}}
}

// Fail makes the next Appends meet the given faults, one each, after those that
// earlier calls have announced. [Torn] is not one of a log.
func (l *MemoryLog) Fail(faults ...Fault) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.faults = append(l.m.faults, faults...)
}

// SetDown says whether l cannot be reached. Everything but Close fails then.
func (l *MemoryLog) SetDown(down bool) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.down = down
}

// Head returns the position of the first byte that is kept.
func (l *MemoryLog) Head() uint64 {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.head
}

// Pieces returns what is kept of the snapshot, by keys. The values must not be changed.
func (l *MemoryLog) Pieces() map[string][]byte {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return maps.Clone(l.m.pieces)
}

var (
	errLogDown   = errors.New("the log cannot be reached")
	errLogClosed = errors.New("the log is closed")
)

// reachable is called with the lock held.
func (l *MemoryLog) reachable() error {
	switch {
	case l.closed:
		return errLogClosed
	case l.down:
		return errLogDown
	}
	return nil
}

func (m *memory) end() uint64 { return m.head + uint64(len(m.log)) }

// ReadAt implements [engine.Log].
func (l *MemoryLog) ReadAt(p []byte, off int64) (int, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if err := l.reachable(); err != nil {
		return 0, err
	}
	if from := uint64(off); off < 0 || from < l.m.head || from > l.m.end() || uint64(len(p)) > l.m.end()-from {
		return 0, fmt.Errorf("the log has no %d bytes at %d, but those from %d to %d", len(p), off, l.m.head, l.m.end())
	}
	return copy(p, l.m.log[uint64(off)-l.m.head:]), nil
}

// Load implements [engine.Log]. Two workers show pieces, in no order.
func (l *MemoryLog) Load(newWorker func() func(key string, value []byte) error) (state []byte, end uint64, err error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if err := l.reachable(); err != nil {
		return nil, 0, err
	}
	type piece struct {
		key   string
		value []byte
	}
	pieces := make(chan piece, len(l.m.pieces))
	for key, value := range l.m.pieces {
		pieces <- piece{key, bytes.Clone(value)}
	}
	close(pieces)
	var workers sync.WaitGroup
	var errs [2]error
	for w := range errs {
		show := newWorker()
		workers.Go(func() {
			for p := range pieces {
				key := []byte(p.key)
				if errs[w] = show(unsafe.String(unsafe.SliceData(key), len(key)), p.value); errs[w] != nil {
					return
				}
				clear(key) // they were valid until then
				clear(p.value)
			}
		})
	}
	workers.Wait()
	return bytes.Clone(l.m.state), l.m.end(), cmp.Or(errs[:]...)
}

// Append implements [engine.Log].
func (l *MemoryLog) Append(b *engine.Batch) error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if err := l.reachable(); err != nil {
		return err
	}
	if b.Position != l.m.end() {
		return fmt.Errorf("%w: at %d instead of %d", engine.ErrConflict, l.m.end(), b.Position)
	}
	fault := None
	if len(l.m.faults) > 0 {
		fault, l.m.faults = l.m.faults[0], l.m.faults[1:]
	}
	if fault == None || fault == Kept {
		l.m.append(b)
	}
	if fault == Conflict {
		return engine.ErrConflict
	}
	return fault.err()
}

func (m *memory) append(b *engine.Batch) {
	m.log = append(m.log, b.Group...)
	for key, piece := range b.Pieces {
		if piece == nil {
			delete(m.pieces, key)
		} else {
			m.pieces[strings.Clone(key)] = bytes.Clone(piece)
		}
	}
	m.state = append([]byte{}, b.State...)
	needed := min(b.Needed, m.end())
	if m.shared != nil {
		needed = m.shared.forget(b)
	}
	if needed > m.head {
		m.log = m.log[needed-m.head:]
		m.head = needed
	}
}

// End implements [engine.Log].
func (l *MemoryLog) End() (uint64, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.end(), l.reachable()
}

// Check implements [engine.Log]. Nobody can remove a MemoryLog.
func (l *MemoryLog) Check() error { return nil }

// Close implements [engine.Log].
func (l *MemoryLog) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.closed = true
	return nil
}
