package bolt

import (
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
)

// An index finds entries by name or by address. It is a hash table with open
// addressing and linear probing, in shards, each of which grows alone, so that
// no transaction waits for a big table to be copied. It has no pointers for the
// garbage collector to follow.
//
// One goroutine writes. Any number read, without waiting and without locks: a
// slot is one word, an entry never changes, and a shard that grows is built anew
// and put in place with one pointer. A reader that meets a slot in the middle of
// a change sees the name as it was before or is after.
//
// It is bounded by the number of registrations: a shard is at most three
// quarters full, and never larger than twice what that takes.
type index struct {
	seed      maphash.Seed
	arena     *arena
	byAddress bool // look at the entries' addresses instead of their names
	shards    [shardCount]atomic.Pointer[shard]
}

const (
	shardBits  = 10
	shardCount = 1 << shardBits
	shardMin   = 8 // slots
)

// A shard is one table. Its counts belong to the writer.
type shard struct {
	slots []atomic.Uint64 // a slot each; a power of two of them, never all used
	live  int             // slots with an entry
	used  int             // slots with an entry or a tombstone
}

// A slot is the lower bits of the key's hash, above the ref of the entry; 0 if
// it was never used. The highest bits of the hash say which shard it is in, the
// lowest where probing begins; those between tell most keys apart.
type slot uint64

// tombstone is what a removed entry leaves behind, so that those further on are
// still found. It has no ref.
const tombstone slot = 1 << refBits

func newSlot(hash uint64, r ref) slot { return slot(hash<<refBits | uint64(r)) }

func (s slot) ref() ref     { return ref(s & (1<<refBits - 1)) }
func (s slot) home() uint64 { return uint64(s >> refBits) }

// matches reports whether s may be the slot of a key with that hash.
func (s slot) matches(hash uint64) bool { return s^newSlot(hash, 0) < 1<<refBits && s.ref() != 0 }

func (x *index) init(a *arena, byAddress bool) {
	x.seed, x.arena, x.byAddress = maphash.MakeSeed(), a, byAddress
	for i := range x.shards {
		x.shards[i].Store(newShard(0))
	}
}

// newShard returns an empty shard with room for n entries and some more.
func newShard(n int) *shard {
	size := shardMin
	for size*3/4 <= n+n/8 {
		size *= 2
	}
	return &shard{slots: make([]atomic.Uint64, size)}
}

// at returns slot i, counted round and round.
func (t *shard) at(i uint64) *atomic.Uint64 { return &t.slots[i&uint64(len(t.slots)-1)] }

func (x *index) hash(key string) uint64 { return maphash.String(x.seed, key) }

func (x *index) shard(h uint64) *atomic.Pointer[shard] { return &x.shards[h>>(64-shardBits)] }

func (x *index) key(e *entry) string {
	if x.byAddress {
		return e.address()
	}
	return e.name()
}

// find returns the entry of a key, or nil.
func (x *index) find(key string) *entry {
	_, e := x.lookup(key)
	return e
}

// lookup returns the entry of a key, and where it is, or 0 and nil.
func (x *index) lookup(key string) (ref, *entry) {
	p := x.probe(x.hash(key))
	for {
		e := x.next(&p)
		if e == nil || x.key(e) == key {
			return p.found.ref(), e
		}
	}
}

// sideBySide is how many keys findAll looks up at once, in memory of its own. A
// processor waits for some ten to twenty pieces of memory at a time: 8 keys cost
// a little more each, 32 no less.
const sideBySide = 16

// findAll does for up to sideBySide keys, one after the other, what find does,
// and writes the entries to found.
//
// Among a million names neither the slot of a key nor its entry is in any cache
// of the processor, and it must wait for the one to learn where the other is. So
// all look-ups take one step before any takes the next, in loops so short that
// the processor is ahead with the others while it waits for the first.
func (x *index) findAll(keys []string, found []*entry) {
	var memory [sideBySide]uint64
	hashes := memory[:len(keys)]
	for i, key := range keys {
		hashes[i] = x.hash(key)
	}
	for _, h := range hashes {
		x.shard(h).Load().at(h).Load() // only to have it come nearer
	}
	for i, h := range hashes {
		p := x.probe(h)
		found[i] = x.next(&p)
	}
	for i, key := range keys {
		if found[i] != nil && x.key(found[i]) != key {
			// Another key has the same hash, which is rare. The later keys must not
			// have been looked up before this one, so they begin anew as well.
			for j := i; j < len(keys); j++ {
				found[j] = x.find(keys[j])
			}
			return
		}
	}
}

// touch has the place come nearer where the look-up of a key begins.
func (x *index) touch(key string) {
	h := x.hash(key)
	x.shard(h).Load().at(h).Load()
}

// A probe is the look-up of one key.
type probe struct {
	hash  uint64
	shard *shard
	place uint64 // of the next slot in it, counted round and round
	found slot   // of the entry that was returned last; 0 if it was nil
}

func (x *index) probe(h uint64) probe { return probe{hash: h, shard: x.shard(h).Load(), place: h} }

// next returns the next entry that, by its hash, may be the key's, or nil.
func (x *index) next(p *probe) *entry {
	for {
		s := slot(p.shard.at(p.place).Load())
		if s == 0 {
			p.found = 0
			return nil
		}
		if !s.matches(p.hash) {
			p.place++
			continue
		}
		e := x.resolve(p.hash, p.shard, p.place, s)
		if e == nil { // once for each time that the writer gets in between
			*p = x.probe(p.hash)
			continue
		}
		p.found = s
		p.place++
		return e
	}
}

// resolve returns the entry of s, which was read from slot i of t, the shard for
// h, or nil if that has changed since.
//
// The chunk may have been dropped meanwhile and its number given to another. But
// before that the slot was changed, or the whole shard: if they are still as
// they were after the chunk was found by its number, it is the one that is
// meant. An entry is moved without being taken away in between.
func (x *index) resolve(h uint64, t *shard, i uint64, s slot) *entry {
	c := x.arena.chunk(s.ref().number())
	if x.shard(h).Load() != t || slot(t.at(i).Load()) != s {
		return nil
	}
	return c.entry(s.ref().offset())
}

// put adds e, which is at r, in the place of the entry with the same key if
// there is one, whose place it then returns, else 0.
func (x *index) put(r ref, e *entry) (replaced ref) {
	key := x.key(e)
	h := x.hash(key)
	p := x.shard(h)
	t := p.Load()
	if (t.used+1)*4 > len(t.slots)*3 {
		t = t.grown()
		p.Store(t)
	}
	return t.put(h, r, key, x)
}

func (t *shard) put(h uint64, r ref, key string, x *index) (replaced ref) {
	free := (*atomic.Uint64)(nil)
	for i := h; ; i++ {
		p := t.at(i)
		switch s := slot(p.Load()); {
		case s == 0:
			if free == nil {
				free = p
				t.used++
			}
			t.live++
			free.Store(uint64(newSlot(h, r)))
			return 0
		case s == tombstone:
			if free == nil {
				free = p
			}
		case s.matches(h) && x.key(x.arena.entry(s.ref())) == key:
			p.Store(uint64(newSlot(h, r)))
			return s.ref()
		}
	}
}

// remove takes out the entry of a key, and returns where it was, or 0 if there
// is none.
func (x *index) remove(key string) ref {
	h := x.hash(key)
	t := x.shard(h).Load()
	for i := h; ; i++ {
		p := t.at(i)
		s := slot(p.Load())
		if s == 0 {
			return 0
		}
		if s.matches(h) && x.key(x.arena.entry(s.ref())) == key {
			p.Store(uint64(tombstone))
			t.live--
			return s.ref()
		}
	}
}

// grown returns a shard with the same entries, without tombstones, and with
// room for more.
func (t *shard) grown() *shard {
	n := newShard(t.live + 1)
	for i := range t.slots {
		s := slot(t.slots[i].Load())
		if s == 0 || s == tombstone {
			continue
		}
		i := s.home()
		for n.at(i).Load() != 0 {
			i++
		}
		n.at(i).Store(uint64(s))
	}
	n.live, n.used = t.live, t.live
	return n
}

// fill puts in what the loaders have collected. Nobody may read it yet. Each of
// as many goroutines as there are processors fills shards of its own.
func (x *index) fill(loaders []*entryLoader) {
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(taken.Add(1)) - 1
				if i >= shardCount {
					return
				}
				n := 0
				for _, l := range loaders {
					n += len(l.entries[i])
				}
				t := newShard(n)
				for _, l := range loaders {
					for _, e := range l.entries[i] {
						t.put(e.hash, e.at, x.key(x.arena.entry(e.at)), x)
					}
					l.entries[i] = nil
				}
				x.shards[i].Store(t)
			}
		})
	}
	wg.Wait()
}

// len returns the number of entries. It is for the writer, and not cheap.
func (x *index) len() int {
	n := 0
	for i := range x.shards {
		n += x.shards[i].Load().live
	}
	return n
}

// all calls yield for every entry and where it is, in no order. It is for the
// writer.
func (x *index) all(yield func(ref, *entry) bool) {
	for i := range x.shards {
		slots := x.shards[i].Load().slots
		for j := range slots {
			if s := slot(slots[j].Load()); s.ref() != 0 && !yield(s.ref(), x.arena.entry(s.ref())) {
				return
			}
		}
	}
}
