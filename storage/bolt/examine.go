package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"foyer/storage"
)

// An examination is what was learnt of a file on the way through its pages,
// without bbolt.
type examination struct {
	pages   *pageFile
	rooms   bucketPage
	log     bucketPage
	large   bool // only the outline has been looked at
	state   state
	holds   heldNames
	workers []*roomsWorker
}

// A visit is shown the records of rooms, except their history, by one goroutine.
// The strings in them are views into a page.
type visit func(name string, r *record) error

// A roomsWorker is what one goroutine learnt of the records in its share of the
// pages.
type roomsWorker struct {
	visit   visit // may be nil
	folded  uint64
	found   state             // the sums over its records
	recent  map[string]uint64 // positions of the records that replay may find ahead of it; nil for look
	endings []nameEnding      // names that are not registered
	record  record            // the one being visited
}

// A nameEnding is when a name ended that has not been registered since.
type nameEnding struct {
	name             string
	position, ending uint64
}

func (e nameEnding) compare(o nameEnding) int {
	return cmp.Or(cmp.Compare(e.position, o.position), cmp.Compare(e.ending, o.ending), strings.Compare(e.name, o.name))
}

// examine makes sure that a file is a sound database of a format that is known.
// newVisit, which may be nil, is called for each goroutine that reads records,
// and returns a function to show them to.
//
// Of a file of more records and blocks than large it looks at the outline only:
// everything but the leaves of rooms, of which look takes care, and those of the
// log that are not to be replayed.
func examine(file io.ReaderAt, size int64, large uint64, newVisit func() visit) (*examination, error) {
	if size == 0 {
		return nil, fmt.Errorf("%w: it is empty", storage.ErrNotDatabase)
	}
	p, err := openPages(file, size)
	if err != nil {
		return nil, asDamage(err)
	}
	x := &examination{pages: p}
	if err := x.examine(large, newVisit); err != nil {
		return nil, asDamage(err)
	}
	return x, nil
}

// asDamage takes an error that is no other kind of refusal for damage.
func asDamage(err error) error {
	if errors.Is(err, errClosed) || errors.Is(err, storage.ErrNotDatabase) || errors.Is(err, storage.ErrNewerFormat) || errors.As(err, new(*os.PathError)) {
		return err
	}
	return damaged(err)
}

func (x *examination) examine(large uint64, newVisit func() visit) error {
	buckets, err := x.pages.buckets()
	if err != nil {
		return err
	}
	meta, ok := buckets[string(bucketMeta)]
	if !ok {
		return fmt.Errorf("%w: another program has written it", storage.ErrNotDatabase)
	}
	sumsOfHolds, err := x.examineMeta(meta)
	if err != nil {
		return err
	}
	holds, hasHolds := buckets[string(bucketHolds)]
	if err := x.examineHolds(holds, hasHolds, sumsOfHolds); err != nil {
		return err
	}
	if hasHolds {
		delete(buckets, string(bucketHolds))
	}
	var hasRooms, hasLog bool
	x.rooms, hasRooms = buckets[string(bucketRooms)]
	x.log, hasLog = buckets[string(bucketLog)]
	if !hasRooms || !hasLog || len(buckets) != 3 {
		return errors.New("it has other buckets than it should")
	}
	if x.large = x.state.records+(x.state.tail-x.state.head) > large; x.large {
		return x.outline()
	}
	return x.whole(newVisit)
}

// outline looks at what little has to be sound before bbolt gets to see the
// file, and look and the replay of the log read it.
func (x *examination) outline() error {
	p := x.pages
	if err := p.walkBranches(x.rooms, nil); err != nil {
		return err
	}
	replayed, checkHead := blockKey(x.state.folded), p.newHeadCheck()
	err := p.walkBranches(x.log, func(in subtree) error {
		if in.below != nil && bytes.Compare(in.below, replayed) <= 0 {
			return nil
		}
		return checkHead(in)
	})
	if err != nil {
		return err
	}
	return p.checkFree()
}

// whole looks at everything but the contents of the log: most of that may be of
// no use any more, and what is of use is checked when it is read. The blocks of
// the log never overflow a page.
func (x *examination) whole(newVisit func() visit) error {
	p := x.pages
	err := p.walkBucket(x.rooms, func() leafVisit {
		w := &roomsWorker{folded: x.state.folded, recent: map[string]uint64{}}
		if newVisit != nil {
			w.visit = newVisit()
		}
		x.workers = append(x.workers, w)
		return w.leaf
	})
	if err != nil {
		return err
	}
	if err := x.checkSums(); err != nil {
		return err
	}
	if err := p.walkBranches(x.log, p.newHeadCheck()); err != nil {
		return err
	}
	if err := p.checkFree(); err != nil {
		return err
	}
	return p.checkLost()
}

// look returns the record of a name, or nil if there is none. It checks what it
// reads on the way, all records of a leaf included: a damaged page is an error,
// never a record that is not there. Only a page that is in order but not the
// latest, because the disk has lost what was written to it last, goes unnoticed
// without the sum over all records.
func (x *examination) look(name string) ([]byte, error) {
	var w roomsWorker
	return x.pages.find(x.rooms, viewBytes(name), w.leaf)
}

// examineMeta reads format and state, and returns what is said of the holds.
func (x *examination) examineMeta(meta bucketPage) (sumsOfHolds []byte, err error) {
	values := map[string][]byte{}
	err = x.pages.walkBucket(meta, func() leafVisit {
		return func(e element) error {
			values[string(e.key)] = slices.Clone(e.value)
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	if err := checkFormat(values[string(keyFormat)]); err != nil {
		return nil, err
	}
	x.state, err = decodeState(values[string(keyState)])
	return values[string(keyHolds)], err
}

// checkFormat returns an error unless b is the version of a format that this
// package knows.
func checkFormat(b []byte) error {
	if len(b) != 4 {
		return fmt.Errorf("%w: another program has written it", storage.ErrNotDatabase)
	}
	switch v := binary.BigEndian.Uint32(b); {
	case v > formatVersion:
		return fmt.Errorf("%w: its format is %d, this one knows up to %d", storage.ErrNewerFormat, v, formatVersion)
	case v == 0:
		return errors.New("its format is 0")
	}
	return nil
}

func (w *roomsWorker) leaf(e element) error {
	name := viewString(e.key)
	part, r := recordHead, &w.record
	if w.visit != nil {
		part = recordCurrent
	}
	if err := r.decode(name, e.value, part); err != nil {
		return err
	}
	if e.bucket {
		return errors.New("a bucket is where a record should be")
	}
	w.found.counted(e.value)
	if w.recent != nil {
		if r.position >= w.folded {
			w.recent[strings.Clone(name)] = r.position
		}
		if !r.registered {
			w.endings = append(w.endings, nameEnding{strings.Clone(name), r.position, r.ending})
		}
	}
	if w.visit == nil {
		return nil
	}
	return w.visit(name, r)
}

// checkSums compares what was found with what the state says should be there.
func (x *examination) checkSums() error {
	var found state
	for _, w := range x.workers {
		found.records += w.found.records
		found.digest += w.found.digest
	}
	switch {
	case found.records != x.state.records:
		return fmt.Errorf("of %d records of rooms %d are there", x.state.records, found.records)
	case found.digest != x.state.digest:
		return errors.New("the records of rooms are not the latest")
	}
	return nil
}

// included returns the position of the last group that the record of a name
// includes, if that is one that replay may meet, else 0.
func (x *examination) included(name string) uint64 {
	for _, w := range x.workers {
		if p, ok := w.recent[name]; ok {
			return p
		}
	}
	return 0
}
