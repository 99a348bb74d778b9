package bolt

import (
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
)

// An index finds entries by name or by address. It is a hash table with open
// addressing and linear probing, in shards, each of which grows alone, so that
// no transaction waits for a big table to be copied.
//
// One goroutine writes. Any number read, without waiting and without locks: a
// slot's pointer is set after its hash, an entry never changes, and a shard that
// grows is built anew and put in place with one pointer. A reader that meets a
// slot in the middle of a change sees the name as it was before or is after.
//
// It is bounded by the number of registrations: a shard is at most three
// quarters full, and never larger than twice what that takes.
type index struct {
	seed      maphash.Seed
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
	slots []slot // a power of two of them, never all used
	live  int    // slots with an entry
	used  int    // slots with an entry or a tombstone
}

type slot struct {
	hash  atomic.Uint64
	entry atomic.Pointer[entry]
}

// tombstone is what a removed entry leaves behind, so that those further on are
// still found. It is told from an entry by its address in memory.
var tombstone = new(entry)

func (x *index) init(byAddress bool) {
	x.seed, x.byAddress = maphash.MakeSeed(), byAddress
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
	return &shard{slots: make([]slot, size)}
}

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
	h := x.hash(key)
	slots := x.shard(h).Load().slots
	for i := h; ; i++ {
		s := &slots[i&uint64(len(slots)-1)]
		e := s.entry.Load()
		if e == nil {
			return nil
		}
		if s.hash.Load() == h && e != tombstone && x.key(e) == key {
			return e
		}
	}
}

// put adds e, in the place of the entry with the same key if there is one.
func (x *index) put(e *entry) { x.putHashed(x.hash(x.key(e)), e) }

func (x *index) putHashed(h uint64, e *entry) {
	p := x.shard(h)
	t := p.Load()
	if (t.used+1)*4 > len(t.slots)*3 {
		t = t.grown()
		p.Store(t)
	}
	t.put(h, e, x.key(e), x)
}

func (t *shard) put(h uint64, e *entry, key string, x *index) {
	free := (*slot)(nil)
	for i := h; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		switch old := s.entry.Load(); {
		case old == nil:
			if free == nil {
				free = s
				t.used++
			}
			t.live++
			free.hash.Store(h)
			free.entry.Store(e)
			return
		case old == tombstone:
			if free == nil {
				free = s
			}
		case s.hash.Load() == h && x.key(old) == key:
			s.entry.Store(e)
			return
		}
	}
}

// remove takes out the entry of a key, if there is one.
func (x *index) remove(key string) {
	h := x.hash(key)
	t := x.shard(h).Load()
	for i := h; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		e := s.entry.Load()
		if e == nil {
			return
		}
		if s.hash.Load() == h && e != tombstone && x.key(e) == key {
			s.entry.Store(tombstone)
			t.live--
			return
		}
	}
}

// grown returns a shard with the same entries, without tombstones, and with
// room for more.
func (t *shard) grown() *shard {
	n := newShard(t.live + 1)
	mask := uint64(len(n.slots) - 1)
	for i := range t.slots {
		e := t.slots[i].entry.Load()
		if e == nil || e == tombstone {
			continue
		}
		h := t.slots[i].hash.Load()
		for i := h; ; i++ {
			if s := &n.slots[i&mask]; s.entry.Load() == nil {
				s.hash.Store(h)
				s.entry.Store(e)
				break
			}
		}
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
						t.put(e.hash, e.entry, x.key(e.entry), x)
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

// all calls yield for every entry, in no order.
func (x *index) all(yield func(*entry) bool) {
	for i := range x.shards {
		slots := x.shards[i].Load().slots
		for j := range slots {
			if e := slots[j].entry.Load(); e != nil && e != tombstone && !yield(e) {
				return
			}
		}
	}
}
