package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// An arena is where entries lie: one behind the other in chunks of a mebibyte, which the garbage collector neither looks
// into nor counts by the entry. As objects of their own, a million took up to half of the processor's time.
//
// What was written to a chunk never changes. Chunks of which less than half is in use are emptied by sweeps of the snapshot,
// see compact, and dropped. One that was dropped lives on while somebody holds a string in it.
//
// It is bounded by the entries: what is not in use is at most as much as what is, and as Updates write during a sweep; what
// one that failed has written is dropped at once. 512 GiB of chunks can be numbered.
type arena struct {
	chunks atomic.Pointer[[]*chunk] // by number; nil those that were dropped

	mu   sync.Mutex // guards what follows while loaders run side by side
	free []int      // numbers of chunks that were dropped
	live []int      // bytes in use of the chunk of each number; see use
	used int        // bytes in use of all
}

type chunk [chunkSize]byte

// A ref says where in an arena an entry is: the number of the chunk, and the place in it, in steps of 8 bytes. It is
// never 0.
type ref uint64

const (
	chunkSize             = 1 << 20
	placeBits, numberBits = 17, 19 // chunkSize / entryAlign places
	refBits               = placeBits + numberBits
	chunkStart            = entryAlign // the first place is left out, so that no ref is 0
)

func newRef(number, offset int) ref { return ref(number<<placeBits | offset/entryAlign) }

func (r ref) number() int { return int(r >> placeBits) }
func (r ref) offset() int { return int(r&(1<<placeBits-1)) * entryAlign }

func (c *chunk) entry(offset int) *entry { return (*entry)(unsafe.Pointer(&c[offset])) }

// chunk returns the chunk of that number, nil if it was dropped.
func (a *arena) chunk(number int) *chunk { return (*a.chunks.Load())[number] }

// entry returns the entry at r. It is for the writer: whoever else has come by r must make sure that its chunk was not
// dropped meanwhile; see index.resolve.
func (a *arena) entry(r ref) *entry { return a.chunk(r.number()).entry(r.offset()) }

// use notes that the index of names leads to the entry at r now, once more or, with -1, once less. r may be 0.
func (a *arena) use(r ref, times int) {
	if r != 0 {
		size := times * a.entry(r).size()
		a.live[r.number()] += size
		a.used += size
	}
}

// set puts c in the place of the chunk of a number, which may be the next one.
func (a *arena) set(number int, c *chunk) {
	chunks := slices.Clone(*a.chunks.Load())
	if number == len(chunks) {
		chunks = append(chunks, nil)
		a.live = append(a.live, 0)
	}
	chunks[number], a.live[number] = c, 0
	a.chunks.Store(&chunks)
}

func (a *arena) begin() (number int, c *chunk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if number = len(a.live); len(a.free) > 0 {
		number, a.free = a.free[0], a.free[1:]
	}
	c = new(chunk)
	a.set(number, c)
	return number, c
}

// dropUnused lets go of the chunks to whose entries no index leads any more, but for the one that is being written to.
func (a *arena) dropUnused(writing int) {
	for number, live := range a.live {
		if live == 0 && number != writing && a.chunk(number) != nil {
			a.set(number, nil)
			a.free = append(a.free, number)
		}
	}
}

// An appender writes entries to chunks of its own, for one goroutine. What it leaves unused of the last one is lost.
type appender struct {
	arena  *arena
	chunk  *chunk // nil before the first entry
	number int
	used   int
}

func (a *appender) add(b []byte) (ref, *entry) {
	if a.chunk == nil || a.used+len(b) > chunkSize {
		a.number, a.chunk = a.arena.begin()
		a.used = chunkStart
	}
	at := a.used
	a.used += copy(a.chunk[at:], b)
	return newRef(a.number, at), a.chunk.entry(at)
}
