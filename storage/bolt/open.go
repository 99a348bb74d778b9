package bolt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"foyer/storage"
	"foyer/storage/engine"
)

// A Store is a [storage.Store] in one file.
type Store struct {
	*engine.Store
	file    *file
	copying sync.Mutex // held while a copy is made
}

// Options are for the tests of this package.
type Options struct {
	pace        engine.Pace
	enoughPages int    // see there
	trimBlocks  uint64 // the same
	copyStep    int    // the same
	noSync      bool   // whether to do without flushes
}

const (
	lockTimeout = time.Second // how long to wait for another process to let go
	pageSize    = 4096
	allocSize   = 1 << 20 // how much a file grows at a time, once it has grown so large
	fileMode    = 0o600
)

// boltOptions returns how a file is opened. What they are for, and what was measured, is in docs/decisions.
func boltOptions(readOnly bool) *bbolt.Options {
	return &bbolt.Options{Timeout: lockTimeout, ReadOnly: readOnly, PageSize: pageSize, FreelistType: bbolt.FreelistArrayType}
}

// Open opens the database file at path, and makes one if there is none; the folder must exist. opts may be nil. It reads
// all that the file holds, which takes half a second for a million names.
//
// Its error is one line that names the path, and wraps [storage.ErrLocked], [storage.ErrNotDatabase],
// [storage.ErrOlderFormat], [storage.ErrNewerFormat], [storage.ErrDamaged] or what the operating system said. A file that
// cannot be opened is not changed.
func Open(path string, opts *Options) (*Store, error) {
	s, err := open(path, opts, false)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path); err == nil {
			s, err = open(path, opts, false)
		}
	}
	return s, openError(path, err)
}

// OpenReadOnly opens an existing database file that no server holds, without ever changing it: Update fails. It waits a second
// at most for a server to let go of the file. Its errors are those of [Open]; where there is no file it makes none.
func OpenReadOnly(path string) (*Store, error) {
	s, err := open(path, nil, true)
	return s, openError(path, err)
}

// Verify looks at everything in a database file that no server holds, and calls report with a line of text for each thing
// that is wrong. It returns an error if the file could not be looked at to its end; a file is sound only if there was
// nothing to report and no error. It changes nothing.
//
// A damaged file can take down the process that reads it, in bbolt's own check: run Verify in one of its own.
func Verify(path string, report func(problem string)) error {
	s, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	defer s.Close()
	return openError(path, s.file.view(func(btx *bbolt.Tx) error {
		for err := range btx.Check() {
			report(err.Error())
		}
		return nil
	}))
}

func open(path string, opts *Options, readOnly bool) (*Store, error) {
	f := newFile(path, opts, readOnly)
	err := f.open()
	if err == nil {
		var s *engine.Store
		if s, err = engine.Open(f, f.pace); err == nil {
			return &Store{Store: s, file: f}, nil
		}
	}
	_ = f.closeDB()
	return nil, err
}

func newFile(path string, opts *Options, readOnly bool) *file {
	if opts == nil {
		opts = &Options{enoughPages: enoughPages, trimBlocks: trimBlocks, copyStep: copyStep}
	}
	return &file{path: path, readOnly: readOnly, Options: *opts, openBolt: openBolt, commitBolt: (*bbolt.Tx).Commit, now: time.Now}
}

// open opens an existing file: for reading first, which takes the lock and looks at no more than bbolt's meta pages, and
// once its outline is sound as it is to be.
func (f *file) open() (err error) {
	if f.db, f.info, err = openBolt(f.path, true); f.info == nil || errors.Is(err, storage.ErrLocked) {
		return err
	}
	err = cmp.Or(checkOutline(f.path), err)
	if err == nil && !f.readOnly {
		_ = f.closeDB()
		f.db, f.info, err = openBolt(f.path, false)
	}
	if err != nil {
		return err
	}
	f.db.NoSync, f.db.AllocSize = f.noSync, allocSize
	return f.view(func(btx *bbolt.Tx) (err error) {
		meta := btx.Bucket(bucketMeta)
		if meta == nil || btx.Bucket(bucketLog) == nil || len(meta.Get(keyFormat)) != 4 {
			return storage.ErrNotDatabase
		}
		switch f.format = binary.BigEndian.Uint32(meta.Get(keyFormat)); {
		case f.format > formatVersion:
			return fmt.Errorf("%w: it has format %d, and this one knows formats up to %d", storage.ErrNewerFormat, f.format, formatVersion)
		case f.format < oldestFormat:
			return storage.ErrOlderFormat
		}
		f.extent, err = readExtent(btx)
		return err
	})
}

// openBolt opens an existing file with bbolt. The info is of the file, also of one that bbolt does not open.
func openBolt(path string, readOnly bool) (db *bbolt.DB, info os.FileInfo, err error) {
	options := boltOptions(readOnly)
	options.OpenFile = func(path string, flag int, mode fs.FileMode) (*os.File, error) {
		// To open a pipe might take for ever.
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: it is not a regular file", storage.ErrNotDatabase)
		}
		f, err := os.OpenFile(path, flag&^os.O_CREATE, mode) // what is not there is made by create
		if err == nil {
			info, err = f.Stat()
		}
		return f, err
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, fileMode, options)
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = storage.ErrLocked
	}
	return db, info, err
}

func openError(path string, err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// create makes a new database at path. A crash on the way leaves no file there that could not be opened: the file is
// complete, and on the disk, before it gets its name.
func create(path string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	defer temporary.Close()
	db, err := bbolt.Open(temporary.Name(), fileMode, boltOptions(false)) // bbolt fills an empty file
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(initialize), db.Close()); err != nil {
		return err
	}
	// Written again page by page: what was written at once is one piece of the kernel's cache, all of which counts as
	// written with each of its pages, and bbolt writes a meta page with every commit.
	b, err := os.ReadFile(temporary.Name())
	err = cmp.Or(err, temporary.Truncate(0))
	for page := range slices.Chunk(b, pageSize) {
		_, writeErr := temporary.Write(page)
		err = cmp.Or(err, writeErr)
	}
	if err = cmp.Or(err, temporary.Sync()); err != nil {
		return err
	}
	// Link does not replace a file that another process has made meanwhile.
	if err := os.Link(temporary.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(temporary.Name(), path); err != nil {
			return err
		}
	}
	return SyncFolder(filepath.Dir(path))
}

func initialize(btx *bbolt.Tx) error {
	_, errLog := btx.CreateBucket(bucketLog)
	_, errSnapshot := btx.CreateBucket(bucketSnapshot)
	meta, err := btx.CreateBucket(bucketMeta)
	if err = cmp.Or(errLog, errSnapshot, err); err != nil {
		return err
	}
	err = meta.Put(keyFormat, version())
	return cmp.Or(err, meta.Put(keyExtent, (&extent{bounds: bounds{Txid: uint64(btx.ID())}}).encode()))
}

// SyncFolder makes the names in a folder durable, where a folder can be synced: for whoever gives a database its name.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

// guard runs fn and turns its panics into errors, also those of reading memory that is mapped to a file and cannot be
// read: bbolt trusts its file.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(fmt.Errorf("%v", p))
		}
	}()
	return fn()
}

func damaged(err error) error { return fmt.Errorf("%w: %w", storage.ErrDamaged, err) }
