package bolt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"

	"foyer/storage"
)

// bbolt trusts its file. Most damage shows when it is read: bbolt looks at the number and the kind of each page that it
// comes to, and what those hold for us bears checksums. Some would cost data later, or end the process: a damaged meta
// page, for bbolt goes on from the other one, without the last transaction; a list of free pages with some that are in
// use, for they are written over; a branch with a wrong key, for pages are written elsewhere than they are found; and
// pages that are reached twice, in a circle perhaps, or that overlap.
//
// So the outline is looked at here, of bbolt's format 2:
//
//	page            number, 8 bytes | kind, 2 | count of elements, 2 | further pages that it goes over, 4 | elements...
//	branch element  from here to the first key of a page below, 4 bytes | length of that key, 4 | number of the page, 8
//	leaf element    1 for a bucket, 4 bytes | from here to the key, 4 | length of the key, 4 | length of the value, 4
//	bucket's value  number of its root page, 8 bytes, or 0 | ...
const (
	pageHeader, elementSize                      = 16, 16
	branchPage, leafPage, metaPage, freelistPage = 0x01, 0x02, 0x04, 0x10
	magic, boltVersion                           = 0xED0CDAED, 2
)

var native = binary.NativeEndian

type outline struct {
	file  *os.File
	taken []bool // for each page: it is in use, or free
}

// checkOutline returns an error if a file is not bbolt's, or damaged in one of those ways. It must be locked: before that,
// a process that is being killed may still end a commit.
func checkOutline(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	o := &outline{file: file}
	root, free, pages, err := o.metas()
	if err != nil {
		return err
	}
	if pages < 4 || pages > uint64(info.Size())/pageSize {
		return damaged(fmt.Errorf("%d of its %d pages are there", info.Size()/pageSize, pages))
	}
	o.taken = make([]bool, pages)
	o.taken[0], o.taken[1] = true, true
	err = cmp.Or(o.walk(root, true, nil), o.free(free))
	if id := slices.Index(o.taken, false); err == nil && id >= 0 {
		err = badPage(uint64(id))
	}
	return err
}

func badPage(id uint64) error { return damaged(fmt.Errorf("page %d is not what it should be", id)) }

// metas returns what the later of the two meta pages says: the root page, the list of free pages and the number of pages.
// What counts of a meta page is within one sector, so a crash tears neither.
func (o *outline) metas() (root, free, pages uint64, err error) {
	found := map[uint64]bool{} // transactions
	latest := uint64(0)
	for id := range uint64(2) {
		b, _ := o.read(id, pageHeader+64)
		m := b[pageHeader:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		switch {
		case native.Uint32(m) != magic:
			continue
		case native.Uint64(b) != id || native.Uint16(b[8:]) != metaPage || native.Uint64(m[56:]) != sum.Sum64():
			return 0, 0, 0, badPage(id)
		case native.Uint32(m[4:]) != boltVersion || native.Uint32(m[8:]) != pageSize || native.Uint64(m[32:]) == ^uint64(0):
			return 0, 0, 0, storage.ErrNotDatabase // the last has no list of free pages
		}
		txid := native.Uint64(m[48:])
		if found[txid] = true; txid >= latest {
			root, free, pages, latest = native.Uint64(m[16:]), native.Uint64(m[32:]), native.Uint64(m[40:]), txid
		}
	}
	switch {
	case len(found) == 0:
		err = storage.ErrNotDatabase
	case !found[latest-1]:
		err = damaged(errors.New("a meta page is gone, or an old one"))
	}
	return root, free, pages, err
}

// read returns the first n bytes of a page with all that it goes over, zeros where there are none.
func (o *outline) read(id uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := o.file.ReadAt(b, int64(id)*pageSize)
	return b, err
}

// take takes a page with all that it goes over, and returns its kind, its count and its bytes: all of them, or of a leaf
// below the root those of the first page, where the first key is.
func (o *outline) take(id uint64, root bool) (kind, count int, b []byte, err error) {
	n := uint64(len(o.taken))
	b, err = o.read(min(id, n), pageSize)
	run := 1 + uint64(native.Uint32(b[12:]))
	if err != nil || id >= n || native.Uint64(b) != id || run > n-id || slices.Contains(o.taken[id:id+run], true) {
		return 0, 0, nil, badPage(id)
	}
	for i := id; i < id+run; i++ {
		o.taken[i] = true
	}
	kind, count = int(native.Uint16(b[8:])), int(native.Uint16(b[10:]))
	if run > 1 && (kind != leafPage || root) {
		if b, err = o.read(id, int(run)*pageSize); err != nil {
			err = badPage(id)
		}
	}
	return kind, count, b, err
}

// walk takes the pages of a tree, and in the root tree those of the buckets. The first key of a page is low, if that is
// not nil, as the branch above says: bbolt writes what belongs elsewhere into a page of which that is not true.
func (o *outline) walk(id uint64, root bool, low []byte) error {
	kind, count, b, err := o.take(id, root)
	if err != nil {
		return err
	}
	size, end := len(b), pageHeader+count*elementSize
	if kind != leafPage && kind != branchPage || end > size {
		return badPage(id)
	}
	for at := pageHeader; at < end && err == nil; at += elementSize {
		from, n := at+int(native.Uint32(b[at:])), int(native.Uint32(b[at+4:]))
		if kind == leafPage {
			from, n = at+int(native.Uint32(b[at+4:])), int(native.Uint32(b[at+8:]))
		}
		if at == pageHeader && low != nil && (n > size-from || string(b[from:from+n]) != string(low)) {
			return badPage(id)
		}
		switch {
		case kind == leafPage && !root:
			return nil
		case kind == branchPage && from+n > size || kind == leafPage && (native.Uint32(b[at:]) != 1 || from+n+8 > size):
			return badPage(id)
		case kind == branchPage:
			err = o.walk(native.Uint64(b[at+8:]), root, b[from:from+n])
		case native.Uint64(b[from+n:]) != 0: // or the bucket is within the value
			err = o.walk(native.Uint64(b[from+n:]), false, nil)
		}
	}
	return err
}

func (o *outline) free(id uint64) error {
	kind, n, b, err := o.take(id, false)
	if err != nil {
		return err
	}
	if b = b[pageHeader:]; n == 0xFFFF { // the number is the first of the list
		n, b = int(min(native.Uint64(b), 1<<40)), b[8:]
	}
	if kind != freelistPage || n > len(b)/8 {
		return badPage(id)
	}
	for ; n > 0; n, b = n-1, b[8:] {
		free := native.Uint64(b)
		if free >= uint64(len(o.taken)) || o.taken[free] {
			return badPage(id)
		}
		o.taken[free] = true
	}
	return nil
}
