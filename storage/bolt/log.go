package bolt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"foyer/storage/engine"
)

// The buckets, and the keys of the last of them.
var (
	bucketLog, bucketSnapshot, bucketMeta = []byte("log"), []byte("snapshot"), []byte("meta")
	keyFormat, keyExtent, keyState        = []byte("format"), []byte("log"), []byte("state")
)

// formatVersion is that of the format. Version 3 is the same without exits: a file of it is of this version after the first
// Append. Versions 1 and 2 were never released.
const formatVersion, oldestFormat = 4, 3

// blockSize is chosen so that five blocks, with their keys, fill a page: bytes that were appended are written once, not
// again with each of the next. And what does not fill a block leaves meta so small that bbolt keeps it inline, in its
// parent's page.
const blockSize = 791

// A file is an [engine.Log] in one file of bbolt's.
type file struct {
	path     string
	info     os.FileInfo // of the file that was opened, to know it again
	readOnly bool
	Options

	// How bbolt is opened and commits, and the time; tests put others in their place.
	openBolt   func(path string, readOnly bool) (*bbolt.DB, os.FileInfo, error)
	commitBolt func(*bbolt.Tx) error
	now        func() time.Time

	mu sync.RWMutex // guards db, which copies read, and info
	db *bbolt.DB    // nil while the file cannot be opened again

	format  uint32              // of the file
	extent  extent              // as the last commit left it
	changed map[string]struct{} // pieces that were written since they were copied; nil if no copy is being made
	trouble *trouble            // nil while the file can be written
}

// An extent says where the log is.
//
//	checksum of the rest, 4 bytes | the fields of bounds, 8 bytes each | the last bytes
type extent struct {
	bounds
	last []byte // those that do not fill a block
}

type bounds struct {
	Head uint64 // the first block that is still there
	End  uint64 // bytes appended in all
	Txid uint64 // of the transaction of bbolt that wrote this: an older page has another
}

// enoughPages is how many free pages bbolt is to have, beside twice what is being written, before blocks that nobody needs
// are kept: the list of free pages is written with each commit, and the file would not get smaller anyway. As many blocks
// as trimBlocks, and twice what is being written, are deleted at a time.
const enoughPages, trimBlocks = 128, 1024

func (x *extent) blocks() uint64 { return x.End / blockSize }

func (x *extent) encode() []byte {
	b, _ := binary.Append(make([]byte, 4), binary.BigEndian, &x.bounds)
	b = append(b, x.last...)
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func readExtent(btx *bbolt.Tx) (x extent, err error) {
	b := btx.Bucket(bucketMeta).Get(keyExtent)
	if n := binary.Size(x.bounds); len(b) >= 4+n && binary.BigEndian.Uint32(b) == crc32.Checksum(b[4:], castagnoli) {
		_, err = binary.Decode(b[4:], binary.BigEndian, &x.bounds)
		x.last = slices.Clone(b[4+n:])
	}
	if err != nil || uint64(len(x.last)) != x.End%blockSize || x.Head > x.blocks() || x.Txid != uint64(btx.ID()) {
		return x, damaged(errors.New("where the log is, is not known, or of another time"))
	}
	return x, nil
}

func blockKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func checkBlock(k, b []byte, n uint64) error {
	if string(k) != string(blockKey(n)) || len(b) != blockSize {
		return damaged(fmt.Errorf("block %d of the log is missing", n))
	}
	return nil
}

// pieceKey returns the key of a piece: bbolt has no empty keys.
func pieceKey(key string) []byte { return append([]byte{'/'}, key...) }

func (f *file) view(fn func(*bbolt.Tx) error) error {
	if f.db == nil {
		return errUnreadable
	}
	return guard(func() error { return f.db.View(fn) })
}

var errUnreadable = errors.New("the database file cannot be read now")

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	x, position := &f.extent, uint64(off)
	if position+uint64(len(p)) > x.End || position/blockSize < x.Head {
		return 0, damaged(fmt.Errorf("the log has no %d bytes at %d", len(p), position))
	}
	err = f.view(func(btx *bbolt.Tx) error {
		c := btx.Bucket(bucketLog).Cursor()
		k, b := c.Seek(blockKey(position / blockSize))
		for ; n < len(p); k, b = c.Next() {
			at := position + uint64(n)
			if at/blockSize == x.blocks() {
				b = x.last
			} else if err := checkBlock(k, b, at/blockSize); err != nil {
				return err
			}
			n += copy(p[n:], b[at%blockSize:])
		}
		return nil
	})
	return n, err
}

// Load implements [engine.Log]. As many workers as there are processors read pieces.
func (f *file) Load(newWorker func() func(key string, value []byte) error) (state []byte, end uint64, err error) {
	err = f.view(func(btx *bbolt.Tx) error {
		state = slices.Clone(btx.Bucket(bucketMeta).Get(keyState))
		n := f.extent.Head
		err := btx.Bucket(bucketLog).ForEach(func(k, b []byte) error {
			n++
			return checkBlock(k, b, n-1)
		})
		if err == nil && n != f.extent.blocks() {
			err = damaged(fmt.Errorf("the log ends at block %d and should at %d", n, f.extent.blocks()))
		}
		var pieces [][2][]byte
		err = cmp.Or(err, btx.Bucket(bucketSnapshot).ForEach(func(k, v []byte) error {
			pieces = append(pieces, [2][]byte{k[1:], v})
			return nil
		}))
		if err != nil {
			return err
		}
		errs := make([]error, runtime.GOMAXPROCS(0))
		var wg sync.WaitGroup
		for w := range errs {
			show := newWorker()
			wg.Go(func() {
				errs[w] = guard(func() (err error) {
					for i := w; i < len(pieces) && err == nil; i += len(errs) {
						err = show(string(pieces[i][0]), pieces[i][1])
					}
					return err
				})
			})
		}
		wg.Wait()
		return cmp.Or(errs...)
	})
	return state, f.extent.End, err
}

// Append implements [engine.Log]. It is one transaction of bbolt, which is two flushes.
func (f *file) Append(b *engine.Batch) error {
	if end, err := f.End(); err != nil {
		return err
	} else if b.Position != end {
		return fmt.Errorf("%w: at %d instead of %d", engine.ErrConflict, end, b.Position)
	}
	btx, err := f.db.Begin(true)
	if err != nil {
		return f.failed(nil, err)
	}
	defer rollback(btx) // of no effect after a commit
	var next extent
	if err := guard(func() error { next, err = f.write(btx, b); return err }); err != nil {
		return err
	}
	if err := guard(func() error { return f.commitBolt(btx) }); err != nil {
		rollback(btx) // where a panic has left it open, closing would wait for it
		return f.failed(&next, err)
	}
	f.extent, f.format = next, formatVersion
	if f.changed != nil {
		for key := range b.Pieces {
			f.changed[string(pieceKey(key))] = struct{}{}
		}
	}
	return nil
}

func version() []byte { return binary.BigEndian.AppendUint32(nil, formatVersion) }

func rollback(btx *bbolt.Tx) { guard(btx.Rollback) }

// write writes a batch, and returns where the log is then.
func (f *file) write(btx *bbolt.Tx, b *engine.Batch) (next extent, err error) {
	log, snapshot, meta := btx.Bucket(bucketLog), btx.Bucket(bucketSnapshot), btx.Bucket(bucketMeta)
	log.FillPercent = 1 // it only grows at its end
	next.bounds = bounds{f.extent.Head, f.extent.End + uint64(len(b.Group)), uint64(btx.ID())}
	rest := slices.Concat(f.extent.last, b.Group)
	for n := f.extent.blocks(); n < next.blocks() && err == nil; n++ {
		err = log.Put(blockKey(n), rest[:blockSize:blockSize])
		rest = rest[blockSize:]
	}
	next.last = slices.Clone(rest)
	size := len(b.Group)
	for key, piece := range b.Pieces {
		size += len(piece)
		if piece == nil {
			err = cmp.Or(err, snapshot.Delete(pieceKey(key)))
		} else {
			err = cmp.Or(err, snapshot.Put(pieceKey(key), piece))
		}
	}
	if f.db.Stats().FreePageN < f.enoughPages+2*size/pageSize {
		for end := min(b.Needed/blockSize, next.Head+f.trimBlocks+2*uint64(size/blockSize)); next.Head < end; next.Head++ {
			err = cmp.Or(err, log.Delete(blockKey(next.Head)))
		}
	}
	if f.format != formatVersion {
		err = cmp.Or(err, meta.Put(keyFormat, version()))
	}
	return next, cmp.Or(err, meta.Put(keyExtent, next.encode()), meta.Put(keyState, b.State))
}

// Close implements [engine.Log].
func (f *file) Close() error {
	err := f.Check()
	if f.readOnly {
		err = nil
	} else if err != nil {
		err = fmt.Errorf("%w; unless it was only moved, what was registered is lost with it", err)
	}
	return errors.Join(err, f.closeDB())
}
