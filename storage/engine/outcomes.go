package engine

import (
	"hash/maphash"
	"iter"
	"sort"
	"time"

	"foyer"
	"foyer/storage"
)

// outcomeIndex says at which positions of the log the outcome of a request may be. It keeps a part of the hash of its id
// only, so a false match costs a look into the log and no more. It belongs to the goroutine that runs the Update.
//
// It is a hash table with linear probing, in shards that grow alone, bounded by storage.MaxOutcomes: 8 bytes for a slot,
// three eighths to three quarters of them used. An outcome takes 11 to 22 bytes of memory and 100 to 150 of the log.
type outcomeIndex struct {
	seed   maphash.Seed
	shards [1 << outcomeShardBits]outcomeShard
	n      int
}

type outcomeShard struct {
	slots []outcomeSlot // a power of two of them, or none
	n     int
}

// An outcomeSlot is a tag, which is not 0, above the lower bits of a position. The first bits of a tag say which shard it is
// in, those that follow where in the shard: with 16 million outcomes four bits are left to tell neighbors apart. Positions
// repeat after 64 GiB, more than ten minutes of log.
type outcomeSlot uint64

const outcomeShardBits, tagBits, positionBits = 8, 28, 64 - 28

func (x *outcomeIndex) slot(id foyer.ID, position uint64) outcomeSlot {
	tag := maphash.Bytes(x.seed, id[:])>>positionBits | 1
	return outcomeSlot(tag<<positionBits | position&(1<<positionBits-1))
}

func (s outcomeSlot) tag() uint64   { return uint64(s >> positionBits) }
func (s outcomeSlot) shard() uint64 { return uint64(s >> (64 - outcomeShardBits)) }

// home is where in a shard of the given size the probing for s begins.
func (s outcomeSlot) home(size int) uint64 {
	return (s.tag() << outcomeShardBits & (1<<tagBits - 1)) * uint64(size) >> tagBits
}

func (x *outcomeIndex) add(id foyer.ID, position uint64) {
	s := x.slot(id, position)
	t := &x.shards[s.shard()]
	if (t.n+1)*4 > len(t.slots)*3 {
		old := t.slots
		t.slots = make([]outcomeSlot, max(16, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				t.insert(s)
			}
		}
	}
	t.insert(s)
	t.n++
	x.n++
}

func (t *outcomeShard) insert(s outcomeSlot) {
	mask := uint64(len(t.slots) - 1)
	i := s.home(len(t.slots))
	for t.slots[i&mask] != 0 {
		i++
	}
	t.slots[i&mask] = s
}

// candidates yields every position, of those in front of end, that may be the id's.
func (x *outcomeIndex) candidates(id foyer.ID, end uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		want := x.slot(id, 0)
		t := &x.shards[want.shard()]
		if t.n == 0 {
			return
		}
		mask := uint64(len(t.slots) - 1)
		for i := want.home(len(t.slots)); t.slots[i&mask] != 0; i++ {
			s := t.slots[i&mask]
			if back := (end - uint64(s)) & (1<<positionBits - 1); s.tag() == want.tag() && !yield(end-back) {
				return
			}
		}
	}
}

// remove takes out an outcome, and moves up those behind it that it kept from their places.
func (x *outcomeIndex) remove(id foyer.ID, position uint64) {
	s := x.slot(id, position)
	t := &x.shards[s.shard()]
	mask := uint64(len(t.slots) - 1)
	i := s.home(len(t.slots)) & mask
	for t.slots[i] != s {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		moved := t.slots[j]
		if moved == 0 {
			break
		}
		if home := moved.home(len(t.slots)); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = moved
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
	x.n--
}

// A groupAt is where a group with outcomes is, and its lease clock.
type groupAt struct {
	from, to uint64
	lease    time.Duration
}

func (g *groupAt) expired(now storage.Instant) bool {
	return now.Lease-g.lease > storage.OutcomeRetention
}

// outcomesFrom returns the position of the first group whose outcomes count. Updates let go of those in front of it a few
// at a time.
func (s *Store) outcomesFrom(now storage.Instant) uint64 {
	return s.groupFrom(sort.Search(len(s.outcomeGroups), func(i int) bool { return !s.outcomeGroups[i].expired(now) }))
}

func (s *Store) groupFrom(i int) uint64 {
	if i < len(s.outcomeGroups) {
		return s.outcomeGroups[i].from
	}
	return s.state.End
}

// expireOutcomes lets go of outcomes that have been kept long enough, those of four groups at most: an Update adds but one.
func (t *tx) expireOutcomes() (err error) {
	s := t.store
	for ; err == nil && t.expiredGroups < min(4, len(s.outcomeGroups)) && s.outcomeGroups[t.expiredGroups].expired(t.now); t.expiredGroups++ {
		g := &s.outcomeGroups[t.expiredGroups]
		err = s.eachGroup(g.from, g.to, func(_ uint64, g *group) error {
			for at, o := range g.eachOutcome() {
				t.expired[at] = o.ID
			}
			return nil
		})
	}
	t.next.Outcomes = s.groupFrom(t.expiredGroups)
	return err
}

func (s *Store) publishOutcomes(t *tx) {
	for id, at := range t.outcomes {
		s.outcomes.add(id, t.group.outcomesAt+uint64(at))
	}
	if len(t.outcomes) > 0 {
		s.outcomeGroups = append(s.outcomeGroups, groupAt{s.state.End, t.next.End, t.now.Lease})
	}
	for at, id := range t.expired {
		s.outcomes.remove(id, at)
	}
	s.outcomeGroups = s.outcomeGroups[t.expiredGroups:]
}
