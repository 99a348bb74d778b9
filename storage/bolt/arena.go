package bolt

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"foyer"
)

// An arena is where entries lie: one behind the other in chunks of a mebibyte,
// which the garbage collector neither looks into nor counts by the entry. A
// million entries as objects of their own, and pointers to them, took up to half
// of the processor's time.
//
// What was written to a chunk never changes. Entries that nothing leads to any
// more are got rid of by the chunk; see reclaim.go. A chunk that was dropped
// lives on while somebody holds a string in it.
//
// It is bounded by the entries: the chunks of which less than half is in use
// are emptied faster than others fill. 512 GiB of chunks can be numbered.
type arena struct {
	chunks atomic.Pointer[[]atomic.Pointer[chunk]] // by number; replaced to grow

	mu   sync.Mutex // guards what follows while loaders run side by side
	free []int      // numbers of chunks that were dropped
	live []int      // bytes in use of the chunk of each number; see Store.use
}

type chunk [chunkSize]byte

// A ref says where in an arena an entry is: the number of the chunk, and the
// place in it, in steps of 8 bytes. It is never 0.
type ref uint64

const (
	chunkSize  = 1 << 20
	placeBits  = 17 // chunkSize / entryAlign
	numberBits = 19
	refBits    = placeBits + numberBits

	entryAlign = 8
	chunkStart = entryAlign // the first place is left out, so that no ref is 0
)

func newRef(number, offset int) ref { return ref(number<<placeBits | offset/entryAlign) }

func (r ref) number() int { return int(r >> placeBits) }
func (r ref) offset() int { return int(r&(1<<placeBits-1)) * entryAlign }

func (c *chunk) entry(offset int) *entry { return (*entry)(unsafe.Pointer(&c[offset])) }

// chunk returns the chunk of that number, nil if it was dropped.
func (a *arena) chunk(number int) *chunk { return (*a.chunks.Load())[number].Load() }

// entry returns the entry at r. It is for the writer: whoever else has come by r
// must make sure that its chunk was not dropped meanwhile; see index.lookup.
func (a *arena) entry(r ref) *entry { return a.chunk(r.number()).entry(r.offset()) }

// begin adds a chunk.
func (a *arena) begin() (number int, c *chunk) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.free); n > 0 {
		number, a.free = a.free[n-1], a.free[:n-1]
		a.live[number] = 0
	} else {
		number = len(a.live)
		a.live = append(a.live, 0)
	}
	var chunks []atomic.Pointer[chunk]
	if p := a.chunks.Load(); p != nil {
		chunks = *p
	}
	if number >= len(chunks) {
		grown := make([]atomic.Pointer[chunk], max(8, 2*len(chunks)))
		for i := range chunks {
			grown[i].Store(chunks[i].Load())
		}
		chunks = grown
		a.chunks.Store(&chunks)
	}
	c = new(chunk)
	chunks[number].Store(c)
	return number, c
}

// dropped is the live count of a number without a chunk.
const dropped = -1

// drop lets go of a chunk to whose entries no index leads any more.
func (a *arena) drop(number int) {
	(*a.chunks.Load())[number].Store(nil)
	a.live[number] = dropped
	a.free = append(a.free, number)
}

// An appender writes entries to chunks of its own, for one goroutine. What it
// leaves unused of the last one is lost.
type appender struct {
	arena  *arena
	chunk  *chunk // nil before the first entry
	number int
	used   int
}

// add writes an entry that holds copies of all that r consists of. It returns
// nil if r cannot be kept; see newHeader.
func (a *appender) add(r *foyer.Registration) (ref, *entry) {
	h, ok := newHeader(r)
	if !ok {
		return 0, nil
	}
	at, e := a.space(h.size())
	e.write(h, r)
	return at, e
}

// copy writes an entry again.
func (a *appender) copy(old *entry) (ref, *entry) {
	at, e := a.space(old.size())
	*e = *old
	copy(e.part(0, e.length()), old.part(0, old.length()))
	return at, e
}

func (a *appender) space(size int) (ref, *entry) {
	if a.chunk == nil || a.used+size > chunkSize {
		a.number, a.chunk = a.arena.begin()
		a.used = chunkStart
	}
	at := a.used
	a.used += size
	return newRef(a.number, at), a.chunk.entry(at)
}
