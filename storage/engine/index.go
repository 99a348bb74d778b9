package engine

import (
	"cmp"
	"hash/maphash"
	"sync/atomic"
)

// An index finds entries by name or by address. It is a hash table with open addressing and linear probing, in shards, each
// of which grows alone, so that no transaction waits for a big table to be copied.
//
// One goroutine writes. Any number read, without locks: a slot is one word, an entry never changes, and a shard that grows
// is built anew and put in place with one pointer. A reader that meets a slot in the middle of a change sees the name as it
// was before or is after.
//
// It is bounded by the names: a shard is at most three quarters full, and never larger than twice what that takes.
type index struct {
	seed      maphash.Seed
	arena     *arena
	byAddress bool // look at the entries' addresses instead of their names
	shards    [shardCount]atomic.Pointer[shard]
}

const shardBits, shardCount, shardMin = 10, 1 << 10, 8 // a shard has shardMin slots at least

// A shard is one table. Its counts belong to the writer.
type shard struct {
	slots []atomic.Uint64 // a slot each; a power of two of them, never all used
	live  int             // slots with an entry
	used  int             // slots with an entry or a tombstone
}

// A slot is the lower bits of the key's hash, above the ref of the entry; 0 if it was never used. The highest bits of the
// hash say which shard it is in, the lowest where probing begins; those between tell most keys apart.
type slot uint64

// tombstone is what a removed entry leaves behind, so that those further on are still found. It has no ref.
const tombstone slot = 1 << refBits

func newSlot(hash uint64, r ref) slot { return slot(hash<<refBits | uint64(r)) }

func (s slot) ref() ref     { return ref(s & (1<<refBits - 1)) }
func (s slot) home() uint64 { return uint64(s >> refBits) }

// matches reports whether s may be the slot of a key with that hash.
func (s slot) matches(hash uint64) bool { return s^newSlot(hash, 0) < 1<<refBits && s.ref() != 0 }

func (x *index) init(a *arena, byAddress bool, n int) {
	x.seed, x.arena, x.byAddress = maphash.MakeSeed(), a, byAddress
	for i := range x.shards {
		x.shards[i].Store(newShard(n / shardCount))
	}
}

// fill puts in the entries of a part, in an index of addresses those of registered names. A first pass has the processor
// fetch as many slots as it can at once.
func (x *index) fill(p *part) {
	for _, r := range p.refs {
		x.fetch(x.hash(x.key(x.arena.entry(r))))
	}
	for _, r := range p.refs {
		if e := x.arena.entry(r); !x.byAddress || e.has(isRegistered) {
			x.put(r, e)
		}
	}
}

// fetch has the processor fetch the slot that the look-up of a key with that hash probes first.
func (x *index) fetch(h uint64) { x.shard(h).Load().at(h).Load() }

// newShard returns an empty shard with room for n entries and some more.
func newShard(n int) *shard {
	size := shardMin
	for size*3/4 <= n+n/8 {
		size *= 2
	}
	return &shard{slots: make([]atomic.Uint64, size)}
}

func (t *shard) at(i uint64) *atomic.Uint64 { return &t.slots[i&uint64(len(t.slots)-1)] }

func (x *index) hash(key string) uint64 { return maphash.String(x.seed, key) }

func (x *index) shard(h uint64) *atomic.Pointer[shard] { return &x.shards[h>>(64-shardBits)] }

func (x *index) key(e *entry) string {
	if x.byAddress {
		return e.address()
	}
	return e.name()
}

func (x *index) find(key string) *entry {
	_, e := x.get(key)
	return e
}

// get returns the entry of a key and where it is, or nil and 0.
func (x *index) get(key string) (ref, *entry) {
	p := x.probe(x.hash(key))
	for {
		s, e := x.next(&p)
		if e == nil || x.key(e) == key {
			return s.ref(), e
		}
	}
}

type probe struct {
	hash  uint64
	shard *shard
	place uint64 // of the next slot in it, counted round and round
}

func (x *index) probe(h uint64) probe { return probe{h, x.shard(h).Load(), h} }

// next returns the next slot and entry that, by the hash, may be the key's, or 0 and nil.
func (x *index) next(p *probe) (slot, *entry) {
	for ; ; p.place++ {
		s := slot(p.shard.at(p.place).Load())
		if s == 0 {
			return 0, nil
		}
		if !s.matches(p.hash) {
			continue
		}
		if e := x.resolve(p.hash, p.shard, p.place, s); e != nil {
			p.place++
			return s, e
		}
		*p = x.probe(p.hash) // once for each time that the writer gets in between
		p.place--
	}
}

// resolve returns the entry of s, which was read from slot i of t, the shard for h, or nil if that has changed since.
//
// The chunk may have been dropped meanwhile, and its number given to another. A chunk is dropped only after every slot that
// led to it was changed. So if slot and shard are still the same after the chunk was fetched, it is the right chunk. A moved
// entry's slot goes from old to new in one store.
func (x *index) resolve(h uint64, t *shard, i uint64, s slot) *entry {
	c := x.arena.chunk(s.ref().number())
	if x.shard(h).Load() != t || slot(t.at(i).Load()) != s {
		return nil
	}
	return c.entry(s.ref().offset())
}

// sideBySide is how many keys findAll looks up at once. A processor waits for some ten to twenty pieces of memory at a
// time: 8 keys cost a little more each, 32 no less.
const sideBySide = 16

// findAll does for up to sideBySide keys, one after the other, what find does, and writes the entries to found.
//
// Among a million names neither the slot of a key nor its entry is in any cache of the processor, and it must wait for
// the one to learn where the other is. So all look-ups take one step before any takes the next, in loops so short that
// the processor fetches for many of them while it waits for the first.
func (x *index) findAll(keys []string, found []*entry) {
	var hashes [sideBySide]uint64
	for i, key := range keys {
		hashes[i] = x.hash(key)
	}
	for _, h := range hashes[:len(keys)] {
		x.fetch(h)
	}
	for i, h := range hashes[:len(keys)] {
		p := x.probe(h)
		_, found[i] = x.next(&p)
	}
	for i, key := range keys {
		if found[i] != nil && x.key(found[i]) != key {
			// Another key has the same hash, which is rare. The later keys must not have been looked up before this one,
			// so they begin anew as well.
			for j := i; j < len(keys); j++ {
				found[j] = x.find(keys[j])
			}
			return
		}
	}
}

// put adds e, which is at r, in the place of the entry with the same key if there is one.
func (x *index) put(r ref, e *entry) {
	key := x.key(e)
	h := x.hash(key)
	p := x.shard(h)
	t := p.Load()
	if (t.used+1)*4 > len(t.slots)*3 {
		t = t.grown()
		p.Store(t)
	}
	at, there := x.slotFor(t, h, key)
	if !there {
		t.live++
		if at.Load() == 0 {
			t.used++
		}
	}
	at.Store(uint64(newSlot(h, r)))
}

// remove takes out e, unless another one is in its place.
func (x *index) remove(e *entry) {
	key := x.key(e)
	h := x.hash(key)
	t := x.shard(h).Load()
	if at, there := x.slotFor(t, h, key); there && x.arena.entry(slot(at.Load()).ref()) == e {
		t.live--
		at.Store(uint64(tombstone))
	}
}

// slotFor returns the slot of t that is a key's, or where it is to be put. It is for the writer.
func (x *index) slotFor(t *shard, h uint64, key string) (at *atomic.Uint64, there bool) {
	for i := h; ; i++ {
		p := t.at(i)
		switch s := slot(p.Load()); {
		case s == 0:
			return cmp.Or(at, p), false
		case s == tombstone:
			at = cmp.Or(at, p)
		case s.matches(h) && x.key(x.arena.entry(s.ref())) == key:
			return p, true
		}
	}
}

// grown returns a shard with the same entries, without tombstones, and with room for more.
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

// len returns the number of entries. It is for the writer, and not cheap.
func (x *index) len() (n int) {
	for i := range x.shards {
		n += x.shards[i].Load().live
	}
	return n
}
