package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"foyer/storage"
)

// bbolt trusts its file: a damaged page can make it crash, hang, overwrite what
// is in use, or show an older state as if it were the latest. So before it gets
// to see a file its pages are walked here (those that it does not see yet, of a
// large file, a little later), and the file is refused unless they
// make a sound tree: both meta pages whole, every page where it says it is and
// reached once, keys in order and between those of the page above, and each page
// either reached or free. What is in the pages is for checksums of our own.
//
// Both meta pages have to be whole. bbolt would make do with the older of them,
// and so go back behind a change that may have been acknowledged. A crash cannot
// tear one: what counts of it is within one sector.
//
// The layout of the pages is that of version 2 of bbolt's file; all numbers are
// in the machine's byte order.
//
//	page:      id 8 | flags 2 | count 2 | overflow 4 | elements
//	meta:      magic 4 | version 4 | page size 4 | flags 4 | root 8 | sequence 8 |
//	           freelist 8 | pages 8 | transaction 8 | checksum 8
//	branch:    position 4 | key size 4 | page 8
//	leaf:      flags 4 | position 4 | key size 4 | value size 4
//	freelist:  ids of 8, preceded by their number if count is 0xffff
//	bucket:    root 8 | sequence 8 | the page itself if root is 0
const (
	pageHeader  = 16
	metaSize    = 64
	elementSize = 16
	bucketSize  = 16

	branchPage   = 1
	leafPage     = 2
	freelistPage = 16

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = 1<<64 - 1
	maxDepth    = 64
)

var native = binary.NativeEndian

// A pageFile is a file of bbolt's as it lies on the disk.
type pageFile struct {
	file     io.ReaderAt
	size     int64
	pageSize uint64
	pages    uint64 // as many are in use or free
	root     uint64
	freelist uint64

	reached []atomic.Uint64 // a bit for each page
	count   atomic.Uint64   // of them
}

// A bucketPage is where a bucket begins: a page, or, if it is so small that it
// lies within another, the page itself.
type bucketPage struct {
	root   uint64
	inline []byte
}

// openPages reads the meta pages of a file.
func openPages(file io.ReaderAt, size int64) (*pageFile, error) {
	first, err := readMeta(file, size, 0)
	if err != nil {
		return nil, err
	}
	// If the first is damaged the second is where it usually is.
	offset := int64(pageSize)
	if first != nil {
		offset = int64(native.Uint32(first[8:]))
	}
	second, err := readMeta(file, size, offset)
	switch {
	case err != nil:
		return nil, err
	case first == nil && second == nil:
		return nil, storage.ErrNotDatabase
	case first == nil || second == nil:
		return nil, errors.New("one of its two meta pages is not whole")
	}
	latest, other := first, second
	if native.Uint64(first[48:]) < native.Uint64(second[48:]) {
		latest, other = second, first
	}
	p := &pageFile{
		file: file, size: size,
		pageSize: uint64(native.Uint32(latest[8:])),
		root:     native.Uint64(latest[16:]),
		freelist: native.Uint64(latest[32:]),
		pages:    native.Uint64(latest[40:]),
	}
	switch {
	case native.Uint32(latest[4:]) != boltVersion || p.freelist == noFreelist:
		return nil, fmt.Errorf("%w: another program has written it", storage.ErrNotDatabase)
	case native.Uint64(latest[48:])-native.Uint64(other[48:]) != 1 ||
		p.pageSize < 1024 || p.pageSize > 1<<16 || p.pageSize&(p.pageSize-1) != 0 || native.Uint64(other[8:]) != native.Uint64(latest[8:]):
		return nil, errors.New("its two meta pages do not belong together")
	case p.pages > uint64(size)/p.pageSize:
		return nil, fmt.Errorf("it is cut off: it has %d bytes and should have %d", size, p.pages*p.pageSize)
	}
	p.reached = make([]atomic.Uint64, p.pages/64+1)
	return p, nil
}

// readMeta returns the meta page at an offset, or nil if there is none.
func readMeta(file io.ReaderAt, size, offset int64) ([]byte, error) {
	if size < offset+pageHeader+metaSize {
		return nil, nil
	}
	b := make([]byte, pageHeader+metaSize)
	if _, err := file.ReadAt(b, offset); err != nil {
		return nil, err
	}
	b = b[pageHeader:]
	if native.Uint32(b) != boltMagic {
		return nil, nil
	}
	h := fnv.New64a()
	h.Write(b[:metaSize-8])
	if native.Uint64(b[metaSize-8:]) != h.Sum64() {
		return nil, nil
	}
	return b, nil
}

// page reads a page and marks it as reached, with what overflows it.
func (p *pageFile) page(id uint64, buf []byte) ([]byte, error) {
	b, err := p.read(id, buf)
	for i := 0; i < len(b) && err == nil; i += int(p.pageSize) {
		err = p.reach(id)
		id++
	}
	return b, err
}

// read reads a page with what overflows it into buf, or into other memory if
// that is too small.
func (p *pageFile) read(id uint64, buf []byte) ([]byte, error) {
	if id < 2 || id >= p.pages {
		return nil, fmt.Errorf("there is no page %d", id)
	}
	b := slices.Grow(buf[:0], int(p.pageSize))[:p.pageSize]
	if _, err := p.file.ReadAt(b, int64(id*p.pageSize)); err != nil {
		return nil, err
	}
	overflow := uint64(native.Uint32(b[12:]))
	if native.Uint64(b) != id || overflow >= p.pages-id {
		return nil, fmt.Errorf("page %d is not what it should be", id)
	}
	if overflow > 0 {
		b = make([]byte, (overflow+1)*p.pageSize)
		if _, err := p.file.ReadAt(b, int64(id*p.pageSize)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// reach marks a page as reached.
func (p *pageFile) reach(id uint64) error {
	if id < 2 || id >= p.pages {
		return fmt.Errorf("there is no page %d", id)
	}
	if bit := uint64(1) << (id % 64); p.reached[id/64].Or(bit)&bit != 0 {
		return fmt.Errorf("page %d is used twice", id)
	}
	p.count.Add(1)
	return nil
}

// A subtree is a page and the keys that what is in it lies between; below is
// nil if there is no limit.
type subtree struct {
	page        uint64
	from, below []byte
	depth       int
}

// An element is a key with what it leads to.
type element struct {
	key, value []byte
	page       uint64 // in a branch
	bucket     bool   // in a leaf: the value is a bucket
}

// A leafVisit is shown the elements of leaves in order. They are views into a
// page that will be written over.
type leafVisit func(element) error

// elements takes a page apart, checks the order of its keys, and calls leaf or
// branch for each, whichever it is. The last key of a branch tells where the
// one before ends, so branch is called with the elements of all of it.
//
// bbolt writes what the elements hold without gaps, right behind the last of
// them, and leaves no page empty but a root: so a wrong count does not pass.
func elements(b []byte, in subtree, leaf leafVisit, branch func([]element) error) error {
	bad := func() error { return fmt.Errorf("page %d does not decode", in.page) }
	if len(b) < pageHeader {
		return bad()
	}
	flags, n := native.Uint16(b[8:]), int(native.Uint16(b[10:]))
	isLeaf := flags == leafPage
	if !isLeaf && flags != branchPage || n == 0 && (!isLeaf || in.depth > 0) || n > (len(b)-pageHeader)/elementSize {
		return bad()
	}
	var all []element
	if !isLeaf {
		all = make([]element, 0, n)
	}
	before, next := in.from, uint64(pageHeader+n*elementSize)
	for i := range n {
		at := pageHeader + i*elementSize
		h := b[at : at+elementSize]
		var e element
		position, keySize, valueSize := native.Uint32(h), uint64(native.Uint32(h[4:])), uint64(0)
		if isLeaf {
			position, keySize, valueSize = native.Uint32(h[4:]), uint64(native.Uint32(h[8:])), uint64(native.Uint32(h[12:]))
			e.bucket = native.Uint32(h)&1 != 0
		} else {
			e.page = native.Uint64(h[8:])
		}
		start := uint64(at) + uint64(position)
		if start != next || start+keySize+valueSize > uint64(len(b)) {
			return bad()
		}
		next = start + keySize + valueSize
		e.key = b[start : start+keySize]
		e.value = b[start+keySize : start+keySize+valueSize]
		if c := bytes.Compare(before, e.key); c > 0 || c == 0 && i > 0 || in.below != nil && bytes.Compare(e.key, in.below) >= 0 {
			return fmt.Errorf("the keys of page %d are out of order", in.page)
		}
		before = e.key
		if !isLeaf {
			all = append(all, e)
		} else if err := leaf(e); err != nil {
			return err
		}
	}
	if isLeaf {
		return nil
	}
	return branch(all)
}

// child returns the subtree that element i of a branch leads to.
func child(list []element, i int, in subtree) subtree {
	c := subtree{page: list[i].page, from: list[i].key, below: in.below, depth: in.depth + 1}
	if i+1 < len(list) {
		c.below = list[i+1].key
	}
	return c
}

// A walker walks subtrees. It keeps a page of memory for each level.
type walker struct {
	*pageFile
	leaf   leafVisit
	levels [maxDepth][]byte
}

func (w *walker) walk(in subtree) (err error) {
	if in.depth >= maxDepth {
		return fmt.Errorf("page %d is too deep", in.page)
	}
	level := &w.levels[in.depth]
	if *level, err = w.page(in.page, *level); err != nil {
		return err
	}
	return elements(*level, in, w.leaf, func(list []element) error {
		for i := range list {
			if err := w.walk(child(list, i, in)); err != nil {
				return err
			}
		}
		return nil
	})
}

// buckets walks the tree of buckets, and returns where they begin.
func (p *pageFile) buckets() (map[string]bucketPage, error) {
	found := map[string]bucketPage{}
	w := walker{pageFile: p, leaf: func(e element) error {
		if !e.bucket || len(e.value) < bucketSize {
			return fmt.Errorf("%w: another program has written it", storage.ErrNotDatabase)
		}
		found[string(e.key)] = bucketPage{native.Uint64(e.value), slices.Clone(e.value[bucketSize:])}
		return nil
	}}
	return found, w.walk(subtree{page: p.root})
}

// elements shows the elements of a bucket that lies within another page.
func (b bucketPage) elements(leaf leafVisit) error {
	return elements(b.inline, subtree{}, leaf, func([]element) error {
		return errors.New("a bucket within a page does not decode")
	})
}

// walkBucket walks a bucket with as many goroutines as there are processors.
// Each of them calls a leafVisit of its own.
func (p *pageFile) walkBucket(b bucketPage, newLeaf func() leafVisit) error {
	if b.root == 0 {
		return b.elements(newLeaf())
	}
	walkers := make([]*walker, runtime.GOMAXPROCS(0))
	for i := range walkers {
		walkers[i] = &walker{pageFile: p, leaf: newLeaf()}
	}
	queue, err := p.shareOut(b.root, 8*len(walkers), walkers[0].leaf)
	if err != nil {
		return err
	}
	var taken atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(walkers))
	for i, w := range walkers {
		wg.Go(func() {
			for errs[i] == nil {
				next := int(taken.Add(1)) - 1
				if next >= len(queue) {
					return
				}
				errs[i] = w.walk(queue[next])
			}
		})
	}
	wg.Wait()
	return firstError(errs)
}

func firstError(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// shareOut takes the top of a tree apart until it has as many subtrees as
// wanted, or there are no branches left. Leaves on the way it shows to leaf.
func (p *pageFile) shareOut(root uint64, want int, leaf leafVisit) ([]subtree, error) {
	queue := []subtree{{page: root}}
	for len(queue) > 0 && len(queue) < want && queue[0].depth < maxDepth {
		var next []subtree
		for _, in := range queue {
			page, err := p.page(in.page, nil) // the keys of next point into it
			if err != nil {
				return nil, err
			}
			err = elements(page, in, leaf, func(list []element) error {
				for i := range list {
					next = append(next, child(list, i, in))
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		queue = next
	}
	return queue, nil
}

// walkBranches walks a bucket, but no further than to its branches. The leaves
// it shows to leaf, which may be nil, and marks as reached, without what may
// overflow them.
func (p *pageFile) walkBranches(b bucketPage, leaf func(subtree) error) error {
	if b.root == 0 {
		return b.elements(func(element) error { return nil })
	}
	height, err := p.height(b.root)
	if err != nil {
		return err
	}
	w := branchWalker{pageFile: p, height: height, leaf: leaf}
	return w.walk(subtree{page: b.root})
}

type branchWalker struct {
	*pageFile
	height int
	leaf   func(subtree) error
}

func (w branchWalker) walk(in subtree) error {
	if in.depth == w.height {
		if err := w.reach(in.page); err != nil || w.leaf == nil {
			return err
		}
		return w.leaf(in)
	}
	b, err := w.page(in.page, nil)
	if err != nil {
		return err
	}
	noLeaf := func(element) error { return fmt.Errorf("page %d is a leaf where a branch should be", in.page) }
	return elements(b, in, noLeaf, func(list []element) error {
		for i := range list {
			if err := w.walk(child(list, i, in)); err != nil {
				return err
			}
		}
		return nil
	})
}

// newHeadCheck returns a function that checks the head of a leaf that nothing
// overflows: bbolt believes what it says of the page's length when it frees the
// page, and would free others, in use, along with it.
func (p *pageFile) newHeadCheck() func(subtree) error {
	head := make([]byte, pageHeader)
	return func(in subtree) error {
		if _, err := p.file.ReadAt(head, int64(in.page*p.pageSize)); err != nil {
			return err
		}
		if native.Uint64(head) != in.page || native.Uint16(head[8:]) != leafPage || native.Uint32(head[12:]) != 0 {
			return fmt.Errorf("page %d is not what it should be", in.page)
		}
		return nil
	}
}

// height returns how many branches are above each leaf.
func (p *pageFile) height(root uint64) (int, error) {
	b := make([]byte, p.pageSize)
	for height, id := 0, root; height < maxDepth; height++ {
		if id < 2 || id >= p.pages {
			break
		}
		if _, err := p.file.ReadAt(b, int64(id*p.pageSize)); err != nil {
			return 0, err
		}
		switch native.Uint16(b[8:]) {
		case leafPage:
			return height, nil
		case branchPage:
			id = native.Uint64(b[pageHeader+8:])
		default:
			return 0, fmt.Errorf("page %d does not decode", id)
		}
	}
	return 0, errors.New("a bucket has no leaves")
}

// find returns the value of a key, or nil if the bucket does not have it, which
// must not be empty. It believes nothing: each page on the way is checked, and
// check is shown all elements of the leaves that it reads. None of it is marked
// as reached.
//
// Where a damaged branch leads astray, to the wrong one of two leaves, all of
// either is in order. But then one of the leaves beside the one that it leads to
// has keys that do not belong there; so a key that is missing takes a look at
// both.
func (p *pageFile) find(b bucketPage, key []byte, check leafVisit) (value []byte, err error) {
	from, below, err := p.descend(b, key, false, func(e element) error {
		if bytes.Equal(e.key, key) {
			value = e.value
		}
		return check(e)
	})
	if value != nil || err != nil {
		return value, err
	}
	if from != nil {
		_, _, err = p.descend(b, from, true, check)
	}
	if below != nil && err == nil {
		_, _, err = p.descend(b, below, false, check)
	}
	return nil, err
}

// descend shows a leaf the elements of the leaf where key is, or before it the
// leaf that ends there, and returns the keys that it lies between.
func (p *pageFile) descend(b bucketPage, key []byte, before bool, leaf leafVisit) (from, below []byte, err error) {
	if b.root == 0 {
		return nil, nil, b.elements(leaf)
	}
	in := subtree{page: b.root}
	for in.depth < maxDepth {
		page, err := p.read(in.page, nil)
		if err != nil {
			return nil, nil, err
		}
		deeper := false
		err = elements(page, in, leaf, func(list []element) error {
			i, found := slices.BinarySearchFunc(list, key, func(e element, key []byte) int { return bytes.Compare(e.key, key) })
			if !found || before {
				i = max(i-1, 0)
			}
			if i > 0 {
				from = list[i].key
			}
			in, deeper = child(list, i, in), true
			return nil
		})
		if err != nil || !deeper {
			return from, in.below, err
		}
	}
	return nil, nil, fmt.Errorf("page %d is too deep", in.page)
}

// checkFree makes sure that no page that is reached is free. It comes last.
func (p *pageFile) checkFree() error {
	b, err := p.page(p.freelist, nil)
	if err != nil {
		return err
	}
	n, ids := uint64(native.Uint16(b[10:])), b[pageHeader:]
	if n == 0xffff && len(ids) >= 8 {
		n, ids = native.Uint64(ids), ids[8:]
	}
	if native.Uint16(b[8:]) != freelistPage || n > uint64(len(ids)/8) {
		return errors.New("the list of free pages does not decode")
	}
	for i := range n {
		if err := p.reach(native.Uint64(ids[8*i:])); err != nil {
			return fmt.Errorf("the list of free pages: %w", err)
		}
	}
	return nil
}

// checkLost makes sure that each page is either reached or free, after checkFree.
func (p *pageFile) checkLost() error {
	if reached := p.count.Load() + 2; reached != p.pages {
		return fmt.Errorf("%d of %d pages are lost", p.pages-reached, p.pages)
	}
	return nil
}
