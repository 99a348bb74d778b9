package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"foyer"
	"foyer/storage"
)

// Options are for the tests of this package.
type Options struct {
	// defaultPace if it is zero; how many records and blocks are too
	// many to look at all of them first; whether to do without flushes.
	pace   pace
	large  uint64
	noSync bool
}

// defaultLarge is what is read in some ten milliseconds.
const defaultLarge = 1 << 16

const (
	// lockTimeout is how long to wait for another process to let go.
	lockTimeout = time.Second

	pageSize = 4096
	fileMode = 0o600
)

// boltOptions returns how a file is opened. What they are for, and what was
// measured, is in docs/decisions.
func boltOptions(readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout:      lockTimeout,
		ReadOnly:     readOnly,
		PageSize:     pageSize,
		FreelistType: bbolt.FreelistArrayType,
	}
}

// Open opens the database file at path, and makes one if there is none; the
// folder must exist. opts may be nil.
//
// Its error is one line that names the path, and wraps [storage.ErrLocked],
// [storage.ErrNotDatabase], [storage.ErrNewerFormat], [storage.ErrDamaged] or
// what the operating system said. A file that cannot be opened is not changed.
//
// Of a large file, with more than some 65,000 records, it looks at no more than
// the outline. The rest is looked at while Find is in use already; if it is
// damaged, Update, List and History return an error that wraps
// storage.ErrDamaged, and the file has not been changed either.
func Open(path string, opts *Options) (*Store, error) {
	s := &Store{path: path, openBolt: openBolt, commitBolt: (*bbolt.Tx).Commit}
	if opts != nil {
		s.options = *opts
	}
	if s.options.pace == (pace{}) {
		s.options.pace, s.options.large = defaultPace, defaultLarge
	}
	err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, openError(path, err)
		}
		err = s.open()
	}
	if err != nil {
		if s.db != nil {
			s.db.Close()
		}
		return nil, openError(path, err)
	}
	return s, nil
}

// openBolt opens an existing file with bbolt. look, if it is not nil, is given
// the file first, under bbolt's lock.
func openBolt(path string, readOnly bool, look func(*os.File, os.FileInfo) error) (db *bbolt.DB, err error) {
	options := boltOptions(readOnly)
	options.OpenFile = func(path string, flag int, mode fs.FileMode) (*os.File, error) {
		// To open a pipe might take for ever.
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: it is not a regular file", storage.ErrNotDatabase)
		}
		f, err := os.OpenFile(path, flag&^os.O_CREATE, mode) // what is not there is made by create
		if err != nil {
			return nil, err
		}
		if err := lockAndLook(f, readOnly, look); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, fileMode, options)
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, storage.ErrLocked
	}
	return db, err
}

func lockAndLook(f *os.File, readOnly bool, look func(*os.File, os.FileInfo) error) error {
	if err := lockFile(f, !readOnly); err != nil || look == nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return look(f, info)
}

func openError(path string, err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// create makes a new database at path. A crash on the way leaves no file there
// that could not be opened: the file is complete, and on the disk, before it
// gets its name.
func create(path string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if err := temporary.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temporary.Name(), fileMode, boltOptions(false)) // bbolt fills an empty file
	if err != nil {
		return err
	}
	err = db.Update(initialize)
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// Link does not replace a file that another process has made meanwhile.
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(temporary.Name(), path); err != nil {
			return err
		}
	}
	return syncFolder(filepath.Dir(path))
}

func initialize(btx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketLog, bucketRooms, bucketMeta} {
		if _, err := btx.CreateBucket(name); err != nil {
			return err
		}
	}
	version := binary.BigEndian.AppendUint32(nil, formatFirst)
	if err := btx.Bucket(bucketMeta).Put(keyFormat, version); err != nil {
		return err
	}
	return putState(btx, &state{tail: 1, head: 1, outcomes: 1, folded: 1})
}

// syncFolder makes the names in a folder durable, where a folder can be synced.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

// guard runs fn and turns its panics into errors, also those of reading memory
// that is mapped to a file and cannot be read: bbolt trusts its file.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(fmt.Errorf("%v", p))
		}
	}()
	return fn()
}

// unavailable wraps a failure of the storage for callers of the Store.
func unavailable(err error) error {
	if err == nil || errors.Is(err, foyer.ErrUnavailable) {
		return err
	}
	return storage.Unavailable(err)
}

// damaged wraps what is wrong with the contents of the file.
func damaged(err error) error {
	return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
}
