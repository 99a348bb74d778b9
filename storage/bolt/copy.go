package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// A copy is read in a transaction of bbolt's. While that is open the pages that
// it sees are not used again, so the file grows, and a commit that needs more of
// the file mapped into memory waits. Therefore a copy is given up when a commit
// has taken copyPatience, and begun again a little later, so many times.
const (
	copyPatience = 250 * time.Millisecond
	copyPause    = 500 * time.Millisecond
	copyTries    = 5
	copyReserve  = 64 << 20 // bytes that must be left on the disk beside the copy
)

var errInTheWay = errors.New("so much is being written that the copy was given up")

// Copy writes the database to a file as one Update left it, in place of what the
// file holds. It does not flush it to the disk: the copy is to be looked at, and
// thrown away. It gives up when the store is closed or ctx ends, when the disk
// that the file is on has too little space, and when Updates had to wait for it
// several times. progress, which may be nil, is told how much has been written.
func (s *Store) Copy(ctx context.Context, to *os.File, progress func(bytes int64)) error {
	if err := s.awaitIndexes(); err != nil {
		return unavailable(err)
	}
	for try := 1; ; try++ {
		err := s.copyOnce(ctx, to, progress)
		if !errors.Is(err, errInTheWay) || try == copyTries {
			return err
		}
		select {
		case <-time.After(copyPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) copyOnce(ctx context.Context, to *os.File, progress func(int64)) error {
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := to.Truncate(0); err != nil {
		return err
	}
	btx, err := s.beginRead()
	if err != nil {
		return err
	}
	defer rollback(btx)
	free, err := freeSpace(to)
	if err == nil && free < uint64(btx.Size())+copyReserve {
		return fmt.Errorf("a copy takes %d MiB and %d must be left, but only %d are free", btx.Size()>>20, int64(copyReserve)>>20, free>>20)
	}
	w := &copyWriter{ctx: ctx, store: s, to: to, progress: progress}
	err = guard(func() error {
		_, err := btx.WriteTo(w)
		return err
	})
	return cmp.Or(w.err, err) // bbolt does not wrap all of them
}

// beginRead begins a transaction that outlives s.mu: closing the file waits for
// it, as commits may.
func (s *Store) beginRead() (*bbolt.Tx, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return nil, storage.Unavailable(errors.New("the database file cannot be read now"))
	}
	return s.db.Begin(false)
}

// A copyWriter is given some ten kilobytes at a time, and looks each time whether
// to go on.
type copyWriter struct {
	ctx      context.Context
	store    *Store
	to       *os.File
	written  int64
	progress func(int64)
	err      error // what Write returned
}

func (w *copyWriter) Write(b []byte) (n int, err error) {
	switch {
	case w.ctx.Err() != nil:
		w.err = w.ctx.Err()
	case w.store.closing.Load():
		w.err = errClosed
	case w.store.committing.since() > copyPatience:
		w.err = errInTheWay
	default:
		n, w.err = w.to.Write(b)
	}
	w.written += int64(n)
	if w.progress != nil && w.err == nil {
		w.progress(w.written)
	}
	return n, w.err
}

// A stopwatch says how long something has been going on. The zero value is
// stopped.
type stopwatch struct{ began atomic.Pointer[time.Time] }

func (w *stopwatch) start() {
	now := time.Now()
	w.began.Store(&now)
}

func (w *stopwatch) stop() { w.began.Store(nil) }

// since returns 0 if w is stopped.
func (w *stopwatch) since() time.Duration {
	if began := w.began.Load(); began != nil {
		return max(1, time.Since(*began))
	}
	return 0
}
