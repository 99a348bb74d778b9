package engine

import (
	"encoding/binary"
	"fmt"
)

// The snapshot: a piece for each part of the order, with the entries of its names. Updates write a few at a time, along
// with their group, in descending order of the names, over and over again: a sweep. A piece is as its part was at some
// moment of the sweep; the log is needed from where the last complete sweep began, and what it says comes on top.
//
//	piece: checksum of key and rest, 4 bytes | entries...
//
// What a piece says of names from the key of the next piece on is out of date. For when the part "a" of a, b, c, d is split
// in two, the piece "a" has all four until it is written again. In descending order the piece "c" comes first: from then on
// it counts for c and d, although they still are in "a" as well, and at no time are they in neither. When the parts are
// joined, "c" is taken away and "a" written with all four at once. On opening, setParts leaves out what does not count.
const pieceHeader = 4

func piecePlace(key string) string { return fmt.Sprintf("the piece %q", key) }

// Pace says how the snapshot follows the log: bytes written are traded against log to be read on opening. The zero Pace
// stands for the usual one; others are for tests.
type Pace struct {
	Log   int // bytes of log that a sweep takes, at least; three quarters of the entries' bytes if that is more
	Names int // names that are swept at a time, at least, so that neighbors share the pages of a tree
	Part  int // names at which a part is split in two
}

var usualPace = Pace{Log: 1 << 20, Names: 4096, Part: 160}

// A sweep goes on with the last part that begins in front of a name.
type sweep struct {
	began uint64 // where the log ended then
	fresh bool   // it is to begin with the last part of all
	name  string
	due   int // names to be swept, times the bytes of log for a sweep
}

type sweptPart struct {
	part   *part
	next   *part // the one behind it, which it takes in; or nil
	sum    uint32
	writes bool
}

// sweepSome writes as many pieces as go with the transaction's group, of that size.
func (t *tx) sweepSome(size int) {
	s := t.store
	interval := max(s.arena.used/4*3, s.pace.Log)
	all := s.order.n + len(s.order.parts)
	rate := 1
	if s.state.End-s.state.Snapshot > 4*uint64(interval) { // processes were killed before a sweep was over
		rate = 4
	}
	t.sweep.due += rate * size * all
	if due := t.sweep.due / interval; due >= min(s.pace.Names, all) {
		t.sweep.due %= interval
		t.sweepParts(due)
	}
}

// sweepParts sweeps parts with at least as many names, but not beyond the end of the sweep, and reports whether that has
// come.
func (t *tx) sweepParts(names int) (over bool) {
	parts := t.store.order.parts
	i := len(parts) - 1
	if !t.sweep.fresh {
		if i = t.store.order.at(t.sweep.name); parts[i].from == t.sweep.name {
			i--
		}
	}
	for ; names > 0 && i >= 0; i-- {
		w := sweptPart{part: parts[i]}
		if i > 0 && len(parts[i].refs)+len(parts[i-1].refs) < t.store.pace.Part/4 {
			w.part, w.next = parts[i-1], parts[i]
			names -= len(w.next.refs) + 1
			i--
		}
		names -= len(w.part.refs) + 1
		t.sweepPart(w)
	}
	if i < 0 {
		if t.store.shared == nil {
			t.next.Snapshot = t.sweep.began
		}
		t.sweep = sweep{began: t.next.End, fresh: true, due: t.sweep.due}
		return true
	}
	t.sweep.fresh, t.sweep.name = false, parts[i+1].from
	return false
}

// sweepPart writes what the snapshot does not have of a part. The snapshot of a shared log is written otherwise; there, sweeps
// only join parts and compact.
func (t *tx) sweepPart(w sweptPart) {
	if w.writes = t.store.shared == nil && (w.next != nil || w.part.dirty || !w.part.written); w.writes {
		b := make([]byte, pieceHeader, 1<<14)
		for _, p := range []*part{w.next, w.part} {
			if p == nil {
				continue
			}
			if p.written {
				t.next.Pieces--
				t.next.Digest -= uint64(p.sum)
				t.pieces[p.from] = nil
			}
			for _, r := range p.refs {
				b = append(b, t.store.arena.entry(r).bytes()...)
			}
		}
		seal(piecePlace(w.part.from), b)
		w.sum = binary.BigEndian.Uint32(b)
		t.next.Pieces++
		t.next.Digest += uint64(w.sum)
		t.pieces[w.part.from] = b
	}
	t.swept = append(t.swept, w)
}

func (s *Store) publishSweep(t *tx) {
	for _, w := range t.swept {
		if w.next != nil {
			s.order.join(w.part, w.next)
		}
		if w.writes {
			w.part.written, w.part.dirty, w.part.sum = true, false, w.sum
		}
	}
	s.sweep = t.sweep
}

// compact writes the entries of sparse chunks again elsewhere, those in the parts that were swept, and drops what is not
// in use any more. An entry is never away in between.
func (s *Store) compact(swept []sweptPart) {
	for _, w := range swept {
		for i, r := range w.part.refs {
			if s.arena.live[r.number()] >= chunkSize/2 || r.number() == s.entries.number {
				continue
			}
			at, e := s.entries.add(s.arena.entry(r).bytes())
			s.names.put(at, e)
			if e.has(isRegistered) {
				s.addresses.put(at, e)
			}
			s.arena.use(at, 1)
			s.arena.use(r, -1)
			w.part.refs[i] = at
		}
	}
	if len(swept) > 0 {
		s.arena.dropUnused(s.entries.number)
	}
}

// closeNames bounds how long Close takes: about a second.
const closeNames, closeStep = 1 << 20, 1 << 14

// sweepAll makes the snapshot complete, unless that is too much.
func (s *Store) sweepAll() error {
	s.sweep = sweep{began: s.state.End, fresh: true}
	for n := 0; n < closeNames; n += closeStep {
		t := s.begin(s.state.last)
		over := t.sweepParts(closeStep)
		t.group.at = s.state.last
		t.encoded = t.group.append(t.encoded, t.next.End)
		t.next.End += uint64(len(t.encoded))
		if err := s.append(t, t.batch()); err != nil || over {
			return err
		}
	}
	return nil
}
