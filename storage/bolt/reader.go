package bolt

import (
	"fmt"
	"math"
	"os"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

// A Reader reads a database file that no server holds, without changing it and
// without building the indexes of a [Store]: its memory does not grow with the
// number of registrations, but only with the part of the log that is still to
// be folded, which is none after a server has ended in good order. Its methods
// may be called from any goroutine, and List and History are those of
// [storage.Store].
type Reader struct {
	db      *bbolt.DB
	size    int64 // of the file, which does not change
	state   state
	holds   heldNames
	overlay *overlay
	listed  atomic.Int64 // registrations since pages were released
}

// releaseEvery is after how many registrations listed the pages are released
// that were read for them: some 4 MiB.
const releaseEvery = 1 << 15

// OpenReadOnly opens an existing database file for reading. It waits a second
// at most for a server to let go of it. Its errors are those of [Open]; where
// there is no file it makes none.
func OpenReadOnly(path string) (*Reader, error) {
	r := &Reader{overlay: newOverlay()}
	err := r.open(path)
	if err != nil {
		if r.db != nil {
			closeQuietly(r.db)
		}
		return nil, openError(path, err)
	}
	return r, nil
}

func (r *Reader) open(path string) (err error) {
	r.db, err = openBolt(path, true, func(f *os.File, info os.FileInfo) error {
		found, err := examine(f, info.Size(), math.MaxUint64, nil)
		if err == nil {
			r.state, r.holds, r.size = found.state, found.holds, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	return guard(func() error { return r.db.View(r.replay) })
}

// replay asks the records themselves what they include: to remember it of all
// of them would take memory.
func (r *Reader) replay(btx *bbolt.Tx) error {
	rooms := btx.Bucket(bucketRooms)
	err := r.overlay.replay(btx, &r.state, func(name string) uint64 {
		b := rooms.Get(viewBytes(name))
		if b == nil {
			return 0
		}
		var rec record
		if err := rec.decode(name, b, recordHead); err != nil {
			return math.MaxUint64 // whoever reads the record is told
		}
		return rec.position
	})
	if err != nil {
		return damaged(err)
	}
	return nil
}

// Len returns the number of registrations.
func (r *Reader) Len() int { return int(r.state.registered) }

// Last returns the latest Instant that the file knows of.
func (r *Reader) Last() storage.Instant { return r.state.last }

// List is as of [storage.Store].
func (r *Reader) List(after foyer.Name, limit int) (list []foyer.Registration, err error) {
	err = r.view(func(btx *bbolt.Tx) error {
		list, err = r.overlay.list(btx, string(after), max(limit, 0))
		return err
	})
	if r.listed.Add(int64(len(list))) >= releaseEvery {
		r.listed.Store(0)
		releasePages(r.db, r.size)
	}
	return list, err
}

// History is as of [storage.Store].
func (r *Reader) History(name foyer.Name) (events []storage.Event, err error) {
	err = r.view(func(btx *bbolt.Tx) error {
		events, err = history(btx, r.overlay.pending, string(name))
		return err
	})
	return events, err
}

// Find returns the registration of a canonical name or foyer.ErrUnknownName.
func (r *Reader) Find(name []byte) (found foyer.Registration, err error) {
	err = r.view(func(btx *bbolt.Tx) error {
		var ok bool
		if found, ok, err = r.overlay.find(btx, string(name)); err == nil && !ok {
			return foyer.ErrUnknownName
		}
		return err
	})
	return found, err
}

func (r *Reader) view(fn func(*bbolt.Tx) error) error {
	return guard(func() error { return r.db.View(fn) })
}

// Close releases the file.
func (r *Reader) Close() error {
	if err := guard(r.db.Close); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}
