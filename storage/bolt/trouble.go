package bolt

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// retryInterval is how often, at most, Updates try to get at a file again that
// could not be opened.
const retryInterval = 250 * time.Millisecond

// trouble is what is wrong after a commit has failed. What bbolt holds in memory
// is then not to be trusted: its file is closed, opened again and asked whether
// the transaction is in it.
type trouble struct {
	cause error
	tried time.Time // by the service's clock
	doubt *tx       // a transaction that may be in the file or not; nil if there is none
	final bool      // nothing more can be done
}

// failed deals with a failure to begin or to commit a transaction. t is nil if
// there was nothing to commit. It returns nil if the transaction is durable
// after all.
func (s *Store) failed(now storage.Instant, t *tx, cause error) error {
	s.trouble = &trouble{cause: cause}
	if t != nil {
		// What is not in the file now never will be: nothing is being written.
		if found, err := readState(s.db); err != nil || found != s.state {
			s.trouble.doubt = t
			s.scratch = nil // t may be needed for longer
		}
	}
	s.closeBolt()
	return s.reopen(now, t)
}

// mend tries to get out of trouble before an Update. It returns nil if the file
// can be written again.
func (s *Store) mend(now storage.Instant) error {
	t := s.trouble
	if since := now.Wall.Sub(t.tried); t.final || since >= 0 && since < retryInterval {
		return storage.Unavailable(t.cause)
	}
	return s.reopen(now, nil)
}

// reopen opens the file anew and settles what was in doubt. It returns nil if
// the store is out of trouble and waiting, the transaction whose Update is
// running, was or has become durable.
func (s *Store) reopen(now storage.Instant, waiting *tx) error {
	tr := s.trouble
	tr.tried = now.Wall
	err := s.settle()
	if err == nil {
		s.trouble = nil
		if waiting != nil && !waiting.durable {
			return storage.Unavailable(tr.cause)
		}
		return nil
	}
	if tr.doubt != nil && tr.doubt == waiting {
		return fmt.Errorf("%w: %w: %w", storage.ErrUncertain, tr.cause, err)
	}
	return storage.Unavailable(fmt.Errorf("%w: %w", tr.cause, err))
}

// settle opens the file and finds out what became of the transaction in doubt.
func (s *Store) settle() error {
	tr := s.trouble
	s.closeBolt()
	if info, err := os.Stat(s.path); err != nil {
		return err
	} else if !os.SameFile(info, s.file) {
		tr.final = true
		return errors.New("another file has taken the place of the database")
	}
	db, err := s.openBolt(s.path, false, nil)
	if err != nil {
		s.readOnly()
		return err
	}
	found, err := readState(db)
	if err != nil {
		closeQuietly(db)
		return err
	}
	switch {
	case found == s.state:
		tr.doubt = nil // it never happened
	case tr.doubt != nil && found == tr.doubt.next:
		// Seen in the file is not yet on the disk: only another commit, with
		// its flushes, makes sure.
		err := guard(func() error {
			return db.Update(func(btx *bbolt.Tx) error { return putState(btx, &found) })
		})
		if err != nil {
			closeQuietly(db)
			return err
		}
		tr.doubt.durable = true
	default:
		closeQuietly(db)
		tr.final = true
		return errors.New("another process has changed the database")
	}
	s.mu.Lock()
	s.db = db
	s.mu.Unlock()
	if tr.doubt != nil {
		s.publish(tr.doubt)
		tr.doubt = nil
	}
	return nil
}

// readOnly opens the file for List and History while it cannot be opened for
// writing, if it can be read and holds what it should.
func (s *Store) readOnly() {
	db, err := s.openBolt(s.path, true, nil)
	if err != nil {
		return
	}
	if found, err := readState(db); err != nil || found != s.state {
		closeQuietly(db)
		return
	}
	s.mu.Lock()
	s.db = db
	s.mu.Unlock()
}

func readState(db *bbolt.DB) (found state, err error) {
	err = guard(func() error {
		return db.View(func(btx *bbolt.Tx) (err error) {
			found, err = decodeState(btx.Bucket(bucketMeta).Get(keyState))
			return err
		})
	})
	return found, err
}

// closeBolt closes the file, once List and History are done with it.
func (s *Store) closeBolt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		closeQuietly(s.db)
		s.db = nil
	}
}

// closeQuietly closes a file of which nothing more is expected.
func closeQuietly(db *bbolt.DB) {
	guard(db.Close)
}

// Close implements [storage.Store]. It folds what is pending, so that opening
// the file again takes less time; a failure of that does no harm. Its error wraps
// [storage.ErrRemoved] if nobody will find the file where it was opened.
func (s *Store) Close() error {
	s.closing.Store(true)
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.awaitIndexes(); err == nil && s.trouble == nil {
		s.foldAll()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := s.removed()
	if removed != nil {
		removed = fmt.Errorf("%w; unless it was only moved, what was registered is lost with it", removed)
	}
	if s.db == nil {
		return removed
	}
	err := guard(s.db.Close)
	s.db = nil
	return errors.Join(removed, err)
}
