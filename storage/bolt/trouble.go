package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// retryInterval is how often, at most, a file that could not be opened is tried again.
const retryInterval = 250 * time.Millisecond

// trouble is what is wrong after a commit has failed. What bbolt holds in memory is then not to be trusted: its file is
// closed, opened again and asked whether the transaction is in it.
type trouble struct {
	cause error
	tried time.Time
	doubt *extent // of a transaction that may be in the file or not; nil if there is none
	final bool    // nothing more can be done
}

// failed deals with a failure to begin or to commit a transaction, which would have left the log as next says; next is
// nil if there was nothing to commit. It returns nil if the transaction is durable after all.
func (f *file) failed(next *extent, cause error) error {
	f.trouble, f.changed = &trouble{cause: cause}, nil
	before := f.extent.bounds
	if next != nil {
		// What is not in the file now never will be: nothing is being written.
		if found, err := f.stored(); err != nil || found.bounds != before {
			f.trouble.doubt = next
		}
	}
	_ = f.closeDB()
	err := f.reopen()
	switch {
	case err != nil && f.trouble.doubt != nil:
		return fmt.Errorf("%w: %w", storage.ErrUncertain, err)
	case err == nil && f.extent.bounds == before:
		return cause
	}
	return err
}

// End implements [engine.Log]. It tries to get out of trouble.
func (f *file) End() (uint64, error) {
	switch t := f.trouble; {
	case f.readOnly:
		return 0, errors.New("the database was opened for reading only")
	case t == nil:
		return f.extent.End, nil
	case t.final || f.now().Sub(t.tried) < retryInterval:
		return 0, t.cause
	}
	err := f.reopen()
	return f.extent.End, err
}

// reopen opens the file anew, and finds out what became of a transaction in doubt. It returns nil if the trouble is over.
func (f *file) reopen() error {
	t := f.trouble
	t.tried = f.now()
	found, err := f.openAgain()
	switch {
	case err != nil:
	case found.bounds == f.extent.bounds: // it never happened
	case t.doubt != nil && found.End == t.doubt.End:
		// Seen in the file is not yet on the disk: only another commit, with its flushes, makes sure; and one more, as each
		// writes one of the two meta pages, and the last one may be in the kernel's cache only.
		for n := 0; n < 2 && err == nil; n++ {
			err = guard(func() error {
				return f.db.Update(func(btx *bbolt.Tx) error {
					found.Txid = uint64(btx.ID())
					return btx.Bucket(bucketMeta).Put(keyExtent, found.encode())
				})
			})
		}
	default:
		t.final = true
		err = errors.New("another process has changed the database")
	}
	if err != nil {
		_ = f.closeDB()
		return fmt.Errorf("%w: %w", t.cause, err)
	}
	f.extent, f.trouble = found, nil
	return nil
}

func (f *file) openAgain() (found extent, err error) {
	info, err := os.Stat(f.path)
	if err == nil && !os.SameFile(info, f.info) {
		f.trouble.final = true
		err = errors.New("another file has taken the place of the database")
	}
	if err != nil {
		return found, err
	}
	db, _, err := f.openBolt(f.path, false)
	if err != nil {
		return found, err
	}
	db.NoSync, db.AllocSize = f.noSync, allocSize
	f.mu.Lock()
	f.db = db
	f.mu.Unlock()
	return f.stored()
}

func (f *file) stored() (x extent, err error) {
	err = f.view(func(btx *bbolt.Tx) error {
		x, err = readExtent(btx)
		return err
	})
	return x, err
}

func (f *file) closeDB() (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db != nil {
		err = guard(f.db.Close)
		f.db = nil
	}
	return err
}

// Check implements [engine.Log]. The file stays open: it can still be read, and if it is put back all is well again. What
// keeps the path from being looked at proves nothing, and is no error.
func (f *file) Check() error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	info, err := os.Stat(f.path)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	if gone || err == nil && !os.SameFile(info, f.info) {
		return fmt.Errorf("%s: %w", f.path, storage.ErrRemoved)
	}
	return nil
}
