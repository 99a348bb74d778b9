package bolt

import (
	"hash/maphash"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

// outcomeIndex says where in the log the outcome of a request may begin: a part of
// the hash of its id, the block and the offset there, in 10 bytes. Whether it is
// the one the log tells, so a stray match costs a look into the log and no more.
// It belongs to the goroutine that runs the Update.
//
// It is a hash table with linear probing in shards like index, bounded by
// storage.MaxOutcomes: 10 bytes for a slot, at most three quarters of them used.
// An outcome takes some 16 bytes of memory and 100 to 150 of the file.
type outcomeIndex struct {
	seed   maphash.Seed
	shards [outcomeShards]outcomeShard
	n      int
}

type outcomeShard struct {
	slots   []outcomeSlot // a power of two of them, or none
	offsets []uint16      // in their blocks
	n       int
}

// An outcomeSlot is a tag, which is not 0, above the lower bits of the number of a
// block.
type outcomeSlot uint64

// An outcomePlace is where in the log an outcome begins.
type outcomePlace struct {
	slot   outcomeSlot
	offset uint16 // in the block
}

const (
	outcomeShardBits = 8
	outcomeShards    = 1 << outcomeShardBits

	// Those behind the shard's bits of a tag say where a slot has its place, so
	// slots side by side have most of them in common: with 16 million outcomes
	// ten bits are left to tell them apart. What is left for positions counts the
	// blocks of 250 GB of log, more than ten minutes of outcomes can fill.
	tagBits      = 36
	positionBits = 64 - tagBits
)

func newOutcomeSlot(hash, position uint64) outcomeSlot {
	tag := hash>>positionBits | 1
	return outcomeSlot(tag<<positionBits | position&(1<<positionBits-1))
}

func (x *outcomeIndex) init() { x.seed = maphash.MakeSeed() }

func (x *outcomeIndex) slot(id foyer.ID, block uint64) outcomeSlot {
	return newOutcomeSlot(maphash.Bytes(x.seed, id[:]), block)
}

// at returns the place of an outcome that begins a number of bytes into the group
// at a position.
func (s outcomeSlot) at(position uint64, offset int) outcomePlace {
	block := position + uint64(offset/blockSize)
	return outcomePlace{s>>positionBits<<positionBits | outcomeSlot(block&(1<<positionBits-1)), uint16(offset % blockSize)}
}

func (s outcomeSlot) tag() uint64   { return uint64(s >> positionBits) }
func (s outcomeSlot) shard() uint64 { return uint64(s >> (64 - outcomeShardBits)) }

// home is where in a shard of the given size the probing for s begins. The bits
// of the tag behind those of the shard decide, so that a slot can be moved
// without knowing its id.
func (s outcomeSlot) home(size int) uint64 {
	return (s.tag() << outcomeShardBits & (1<<tagBits - 1)) * uint64(size) >> tagBits
}

// block returns the number that s was made with: the last one before end with its
// lower bits.
func (s outcomeSlot) block(end uint64) uint64 {
	const mask = 1<<positionBits - 1
	return end - 1 - (end-1-uint64(s))&mask
}

func (x *outcomeIndex) add(p outcomePlace) {
	t := &x.shards[p.slot.shard()]
	if (t.n+1)*4 > len(t.slots)*3 {
		slots, offsets := t.slots, t.offsets
		size := max(16, 2*len(slots))
		t.slots, t.offsets = make([]outcomeSlot, size), make([]uint16, size)
		for i, s := range slots {
			if s != 0 {
				t.insert(outcomePlace{s, offsets[i]})
			}
		}
	}
	t.insert(p)
	t.n++
	x.n++
}

func (t *outcomeShard) insert(p outcomePlace) {
	mask := uint64(len(t.slots) - 1)
	i := p.slot.home(len(t.slots))
	for t.slots[i&mask] != 0 {
		i++
	}
	t.slots[i&mask], t.offsets[i&mask] = p.slot, p.offset
}

// touch has the place come nearer where candidates begins.
func (x *outcomeIndex) touch(id foyer.ID) outcomeSlot {
	want := x.slot(id, 0)
	t := &x.shards[want.shard()]
	if t.n == 0 {
		return 0
	}
	return t.slots[want.home(len(t.slots))&uint64(len(t.slots)-1)]
}

// candidates calls yield with every place that may be the id's.
func (x *outcomeIndex) candidates(id foyer.ID, yield func(outcomePlace) bool) {
	want := x.slot(id, 0)
	t := &x.shards[want.shard()]
	if t.n == 0 {
		return
	}
	mask := uint64(len(t.slots) - 1)
	for i := want.home(len(t.slots)); t.slots[i&mask] != 0; i++ {
		if s := t.slots[i&mask]; s.tag() == want.tag() && !yield(outcomePlace{s, t.offsets[i&mask]}) {
			return
		}
	}
}

// remove takes out one place equal to p, if there is one, and moves up those
// behind it that it kept from their slots.
func (x *outcomeIndex) remove(p outcomePlace) {
	t := &x.shards[p.slot.shard()]
	if t.n == 0 {
		return
	}
	mask := uint64(len(t.slots) - 1)
	i := p.slot.home(len(t.slots)) & mask
	for t.slots[i] != p.slot || t.offsets[i] != p.offset {
		if t.slots[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		moved := t.slots[j]
		if moved == 0 {
			break
		}
		if home := moved.home(len(t.slots)); (j-home)&mask >= (j-i)&mask {
			t.slots[i], t.offsets[i] = moved, t.offsets[j]
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
	x.n--
}

// skipExpired moves kept behind the groups whose outcomes have been kept long
// enough. Updates let go of them later, a few at a time.
func (s *Store) skipExpired(log *bbolt.Bucket, now storage.Instant) error {
	for s.kept = max(s.kept, s.state.outcomes); s.kept < s.state.tail; {
		at, next, err := clocksAt(log, s.kept)
		if err != nil || !expired(at, now) {
			return err
		}
		s.kept = next
	}
	return nil
}

// Recorded implements [storage.Store].
func (s *Store) Recorded(id foyer.ID) (may bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.awaitIndexes() != nil {
		return true
	}
	if s.trouble != nil && s.trouble.doubt != nil {
		if _, may = s.trouble.doubt.outcomes[id]; may {
			return true
		}
	}
	s.outcomes.candidates(id, func(outcomePlace) bool {
		may = true
		return false
	})
	return may
}
