package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

// The names that are held have a bucket of their own. It is made with the first
// hold, and the file has formatHolds from then on: a program that does not know
// of holds refuses it, rather than let everybody have the names. All holds are in
// memory, too.
//
//	bucket holds:  name -> checksum of name and rest, 4 bytes | time since | time until
//	meta "holds":  checksum of the rest, 4 bytes | holds | sum of their checksums, 8 bytes each
var (
	bucketHolds = []byte("holds")
	keyHolds    = []byte("holds")
)

// heldNames are the holds as the last commit left them, by name.
type heldNames map[string]storage.Hold

func appendHold(b []byte, h storage.Hold) []byte {
	start := len(b)
	b = appendTime(append(b, 0, 0, 0, 0), h.Since)
	b = appendTime(b, h.Until)
	sealRecord(b[start:], string(h.Name))
	return b
}

func decodeHold(name string, b []byte) (storage.Hold, error) {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != checksumAt(viewBytes(name), b[4:]) {
		return storage.Hold{}, fmt.Errorf("%w: the checksum of the hold on %q is wrong", errMalformed, name)
	}
	d := decoder{b: b[4:]}
	h := storage.Hold{Name: foyer.Name(name), Since: d.time(), Until: d.time()}
	if d.bad || len(d.b) != 0 {
		return storage.Hold{}, fmt.Errorf("%w: the hold on %q does not decode", errMalformed, name)
	}
	return h, nil
}

// sums returns what the key "holds" of meta says of so many holds.
func (holds heldNames) sums() []byte {
	digest := uint64(0)
	var buf [64]byte
	for _, h := range holds {
		digest += uint64(binary.BigEndian.Uint32(appendHold(buf[:0], h)))
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 4), uint64(len(holds)))
	b = binary.BigEndian.AppendUint64(b, digest)
	binary.BigEndian.PutUint32(b, checksumAt(keyHolds, b[4:]))
	return b
}

func (holds heldNames) sorted() []storage.Hold {
	return slices.SortedFunc(maps.Values(holds), func(a, b storage.Hold) int { return strings.Compare(string(a.Name), string(b.Name)) })
}

// examineHolds reads the holds; sums is what meta says of them. A file without
// any has neither.
func (x *examination) examineHolds(bucket bucketPage, there bool, sums []byte) error {
	x.holds = heldNames{}
	if !there && sums == nil {
		return nil
	}
	if there {
		leaves := []heldNames{} // of each goroutine
		err := x.pages.walkBucket(bucket, func() leafVisit {
			holds := heldNames{}
			leaves = append(leaves, holds)
			return func(e element) error {
				h, err := decodeHold(string(e.key), e.value)
				holds[string(e.key)] = h
				return err
			}
		})
		if err != nil {
			return err
		}
		for _, holds := range leaves {
			maps.Copy(x.holds, holds)
		}
	}
	if string(sums) != string(x.holds.sums()) {
		return errors.New("the names that are held are not all there, or not the latest")
	}
	return nil
}

// Held implements [storage.Tx].
func (t *tx) Held(name foyer.Name) (storage.Hold, bool) {
	if len(t.holds)+len(t.store.holds) == 0 {
		return storage.Hold{}, false
	}
	h, changed := t.holds[string(name)]
	if !changed {
		h = t.store.holds[string(name)]
	}
	return h, !h.Until.IsZero()
}

// Hold implements [storage.Tx].
func (t *tx) Hold(h storage.Hold) error {
	_, before := t.Held(h.Name)
	switch after := !h.Until.IsZero(); {
	case before && !after:
		t.held--
	case after && !before:
		if len(t.store.holds)+t.held >= storage.MaxHolds && !t.dropHolds() {
			return fmt.Errorf("%w: %d names are held, as many as can be", foyer.ErrBusy, storage.MaxHolds)
		}
		t.held++
	}
	t.set(h)
	return nil
}

func (t *tx) set(h storage.Hold) {
	if t.holds == nil {
		t.holds = heldNames{}
	}
	t.holds[string(h.Name)] = h
}

// dropHolds takes away the holds that are over, and reports whether there were any.
func (t *tx) dropHolds() (any bool) {
	for name, h := range t.store.holds {
		if _, changed := t.holds[name]; !changed && !h.Until.After(t.now.Wall) {
			t.set(storage.Hold{Name: h.Name})
			t.held--
			any = true
		}
	}
	return any
}

// putHolds writes what the transaction changes of the holds.
func (t *tx) putHolds() error {
	if len(t.holds) == 0 {
		return nil
	}
	meta := t.btx.Bucket(bucketMeta)
	bucket := t.btx.Bucket(bucketHolds)
	if bucket == nil {
		var err error
		if bucket, err = t.btx.CreateBucket(bucketHolds); err != nil {
			return err
		}
		if err := meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, formatHolds)); err != nil {
			return err
		}
	}
	after := maps.Clone(t.store.holds)
	for _, name := range slices.Sorted(maps.Keys(t.holds)) { // in their order many take little time
		if err := putHold(bucket, name, t.holds[name]); err != nil {
			return err
		}
	}
	after.change(t.holds)
	return meta.Put(keyHolds, after.sums())
}

func putHold(bucket *bbolt.Bucket, name string, h storage.Hold) error {
	if h.Until.IsZero() {
		return bucket.Delete(viewBytes(name))
	}
	return bucket.Put([]byte(name), appendHold(nil, h))
}

func (holds heldNames) change(changed heldNames) {
	for name, h := range changed {
		if h.Until.IsZero() {
			delete(holds, name)
		} else {
			holds[name] = h
		}
	}
}

// Holds implements [storage.Store].
func (s *Store) Holds() ([]storage.Hold, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.holds.sorted(), nil
}

// Holds is as of [storage.Store].
func (r *Reader) Holds() ([]storage.Hold, error) { return r.holds.sorted(), nil }
