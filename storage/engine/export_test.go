package engine

import (
	"errors"
	"fmt"
	"slices"
)

// The suite in storage/storetest imports this package, so the tests that use it are
// outside of it. This is what they look at.

// Inside is what a Store holds beside what it shows.
type Inside struct {
	Parts    int // of the order
	Names    int // with an entry
	Chunks   int
	Live     int // bytes in use in them
	Snapshot uint64
	Outcomes uint64
	End      uint64
	Ended    []string
	InDoubt  bool
}

// Inspect returns what s holds, and an error if that does not fit together.
func (s *Store) Inspect() (in Inside, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	parts := s.order.parts
	found := make([]int, len(s.arena.live))
	n, registered, ended, held := 0, 0, 0, 0
	var pieces, digest uint64
	for i, p := range parts {
		if p.written {
			pieces++
			digest += uint64(p.sum)
		}
		if i == 0 && p.from != "" {
			fail("the first part begins with %q", p.from)
		}
		for _, r := range p.refs {
			e := s.arena.entry(r)
			if e.name() < p.from || i+1 < len(parts) && e.name() >= parts[i+1].from {
				fail("%q is in the part from %q", e.name(), p.from)
			}
			if at, _ := s.names.get(e.name()); at != r {
				fail("%q is at %x in the order and at %x in the index", e.name(), r, at)
			}
			if e.has(isRegistered) {
				registered++
				if at, _ := s.addresses.get(e.address()); at != r {
					fail("%q is at %x and its address at %x", e.name(), r, at)
				}
			}
			held += boolToInt(e.has(isHeld))
			ended += boolToInt(e.isEnded())
			found[r.number()] += e.size()
			n++
		}
	}
	for number, want := range found {
		switch got := s.arena.live[number]; {
		case got == 0 && want == 0 && s.arena.chunk(number) == nil:
		case got != want || s.arena.chunk(number) == nil:
			fail("of chunk %d %d bytes are in use, and it says %d", number, want, got)
		default:
			in.Chunks++
			in.Live += want
		}
	}
	if in.Live != s.arena.used {
		fail("%d bytes are in use, and the arena says %d", in.Live, s.arena.used)
	}
	if n != s.order.n || n != entries(&s.names) {
		fail("there are %d names in the order, which says %d, and %d in the index", n, s.order.n, entries(&s.names))
	}
	if registered != entries(&s.addresses) || registered != s.Len() || uint64(registered) != s.state.Registered {
		fail("%d are registered at %d addresses, and Len() is %d", registered, entries(&s.addresses), s.Len())
	}
	if s.shared == nil && (pieces != s.state.Pieces || digest != s.state.Digest) {
		fail("the parts have %d pieces with a digest of %x, and the state %d with %x", pieces, digest, s.state.Pieces, s.state.Digest)
	}
	if held != s.held {
		fail("%d names are held, and it says %d", held, s.held)
	}
	outcomes := 0
	for i := range s.outcomes.shards {
		outcomes += s.outcomes.shards[i].n
	}
	if outcomes != s.outcomes.n {
		fail("the index has %d outcomes and says %d", outcomes, s.outcomes.n)
	}
	in.Ended = slices.Collect(s.ended.all(&s.names))
	if ended != s.ended.n || ended != len(in.Ended) {
		fail("%d names have ended, %d are in the queue, which says %d", ended, len(in.Ended), s.ended.n)
	}
	if len(s.ended.queue) > 2*s.ended.n+16 {
		fail("%d of the ended are kept for %d", len(s.ended.queue), s.ended.n)
	}
	in.Parts, in.Names = len(parts), n
	in.Snapshot, in.Outcomes, in.End = s.state.Snapshot, s.state.Outcomes, s.state.End
	in.InDoubt = s.doubt != nil
	return in, errors.Join(errs...)
}

// WithoutSnapshot returns a state with which the same log is read from its
// beginning on, without pieces.
func WithoutSnapshot(raw []byte) []byte {
	s, err := decodeState(raw)
	if err != nil {
		panic(err)
	}
	s.Snapshot, s.Pieces, s.Digest = 0, 0, 0
	return s.encode()
}

// Reseal gives a piece that was changed the checksum that it should have.
func Reseal(key string, piece []byte) { seal(piecePlace(key), piece) }

// ChunkSize is that of the arena's chunks.
const ChunkSize = chunkSize

// entries returns how many there are in an index.
func entries(x *index) (n int) {
	for i := range x.shards {
		n += x.shards[i].Load().live
	}
	return n
}
