package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"foyer/storage"
)

// A copy is read in a transaction of bbolt's. While that is open the pages that it sees are not used again, so the file
// grows, and a commit that needs more of the file mapped into memory waits. Therefore a copy is given up when a commit
// has taken copyPatience, and begun again a little later, so many times.
const (
	copyPatience = 250 * time.Millisecond
	copyPause    = 500 * time.Millisecond
	copyTries    = 5
	copyReserve  = 64 << 20 // bytes that must be left on the disk beside the copy
)

var errInTheWay, errClosed = errors.New("so much is being written that the copy was given up"), errors.New("the store is closed")

// Copy writes the database to a file as one Update left it, in place of what the file holds, without flushing it: it is to be
// looked at and thrown away. It gives up when the store is closed or ctx ends, when the disk has too little space, and when
// Updates had to wait for it several times. progress, if not nil, is told how much is written. One copy is made at a time.
func (s *Store) Copy(ctx context.Context, to *os.File, progress func(bytes int64)) error {
	for try := 1; ; try++ {
		err := s.file.copy(ctx, to, progress)
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

func (f *file) copy(ctx context.Context, to *os.File, progress func(int64)) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	f.copying.Store(&giveUp)
	defer f.copying.Store(nil)
	f.mu.RLock()
	db := f.db
	if db == nil {
		f.mu.RUnlock()
		return storage.Unavailable(errUnreadable)
	}
	btx, err := db.Begin(false)
	f.mu.RUnlock() // closing the file waits for the transaction, as commits may
	if err != nil {
		return err
	}
	defer rollback(btx)
	if free, err := freeSpace(to); err == nil && free < uint64(btx.Size())+copyReserve {
		return fmt.Errorf("a copy takes %d MiB and %d must be left, but only %d are free", btx.Size()>>20, int64(copyReserve)>>20, free>>20)
	}
	if err := to.Truncate(0); err != nil {
		return err
	}
	w := &copyWriter{io.NewOffsetWriter(to, 0), ctx, progress, 0}
	err = guard(func() error {
		_, err := btx.WriteTo(w)
		return err
	})
	return cmp.Or(context.Cause(ctx), err)
}

func (f *file) giveUpCopy(cause error) {
	if giveUp := f.copying.Load(); giveUp != nil {
		(*giveUp)(cause)
	}
}

// A copyWriter is given some ten kilobytes at a time, and looks each time whether to go on.
type copyWriter struct {
	io.Writer
	ctx      context.Context
	progress func(int64)
	written  int64
}

func (w *copyWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.Writer.Write(b)
	if w.written += int64(n); w.progress != nil && err == nil {
		w.progress(w.written)
	}
	return n, err
}

// Usage is the size of a database file, in bytes.
type Usage struct {
	File     int64
	Free     int64   // of it, to be used again
	DiskFree *uint64 // on its disk, nil where the system does not say
}

// Usage returns the size of the database file. It may be called from any goroutine.
func (s *Store) Usage() (u Usage, err error) {
	s.file.mu.RLock()
	defer s.file.mu.RUnlock()
	if s.file.db == nil {
		return u, storage.Unavailable(errUnreadable)
	}
	stats := s.file.db.Stats()
	u.Free = int64(stats.FreePageN+stats.PendingPageN) * pageSize
	file, err := os.Open(s.file.path)
	if err != nil {
		return u, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		u.File = info.Size()
	}
	if free, err := freeSpace(file); err == nil {
		u.DiskFree = &free
	}
	return u, nil
}
