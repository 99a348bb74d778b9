package simulation

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"foyer/storage"
	"foyer/storage/bolt"
)

// A folder is the medium of a [bolt.Store].
type folder struct {
	dir   string
	rand  *rand.Rand
	store *bolt.Store
	file  string // that the store is, or is to be, opened on
	count int    // of files there were
	err   error  // of making an image
}

func newFolder(dir string, r *rand.Rand) *folder {
	return &folder{dir: dir, rand: r, file: filepath.Join(dir, "rooms.db")}
}

func (f *folder) open() (storage.Store, error) {
	f.close()
	if f.err != nil {
		return nil, f.err
	}
	var err error
	f.store, err = bolt.Open(f.file, nil)
	return f.store, err
}

func (f *folder) close() {
	if f.store != nil {
		f.store.Close()
		f.store = nil
	}
}

// powerFails keeps, if the transaction is not to be durable, an image of the
// file as it may be when the power fails while it is being written.
func (f *folder) powerFails(durable bool, update func() error) error {
	if durable {
		return update()
	}
	before, err := os.ReadFile(f.file)
	if err != nil {
		f.err = err
		return err
	}
	if err := update(); err != nil {
		return err
	}
	after, err := os.ReadFile(f.file)
	if err == nil {
		f.count++
		f.file = filepath.Join(f.dir, fmt.Sprintf("rooms-%d.db", f.count))
		err = os.WriteFile(f.file, image(before, after, f.rand), 0o600)
	}
	f.err = err
	return nil
}

// image returns a file as a crash may leave it that comes while the pages of a
// transaction are written: bbolt writes those, flushes, writes the meta page that
// makes them valid, and flushes again. Before the first flush each page may have
// reached the disk or not. The meta page is old or new: what counts in it is in
// one sector, and those are written whole.
func image(before, after []byte, r *rand.Rand) []byte {
	const page, metaPages = 4096, 2
	size := len(after)
	if r.IntN(2) == 0 {
		size = len(before) // it had not grown yet
	}
	share := r.Float64() // of the pages that have reached the disk
	if r.IntN(3) == 0 {
		share = 1
	}
	img := make([]byte, size)
	copy(img, before)
	for at := metaPages * page; at < min(size, len(after)); at += page {
		if r.Float64() < share {
			copy(img[at:min(at+page, size)], after[at:])
		}
	}
	return img
}
