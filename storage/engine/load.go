package engine

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"sync"
)

// Open returns a Store on a log, with everything that the log holds loaded. Its error wraps [storage.ErrDamaged] if that
// does not fit together; the log is left as it is, and not closed.
func Open(log Log, pace Pace) (*Store, error) {
	if pace == (Pace{}) {
		pace = usualPace
	}
	s := &Store{log: log, pace: pace}
	s.shared, _ = log.(SharedLog)
	s.order = order{arena: &s.arena, most: pace.Part}
	s.entries.arena = &s.arena
	s.arena.chunks.Store(new([]*chunk))
	s.outcomes.seed = maphash.MakeSeed()
	if err := s.load(); err != nil {
		return nil, damaged(err)
	}
	s.sweep = sweep{began: s.state.End, fresh: true}
	last := s.state.last
	s.last.Store(&last)
	s.count.Store(int64(s.state.Registered))
	return s, nil
}

func (s *Store) load() error {
	l := loader{arena: &s.arena}
	raw, end, err := s.log.Load(l.newWorker)
	if err == nil && raw != nil {
		s.state, err = decodeState(raw)
	}
	if s.shared != nil && err == nil {
		err = s.addSummary()
	}
	switch st := &s.state; {
	case err != nil:
		return err
	case st.End != end:
		return fmt.Errorf("the log ends at %d and should at %d", end, st.End)
	case uint64(len(l.parts)) != st.Pieces || l.digest != st.Digest:
		return fmt.Errorf("the %d pieces of the snapshot should be %d, or are not all the latest", len(l.parts), st.Pieces)
	}
	outcomes := make(chan error)
	go func() { outcomes <- s.indexOutcomes() }()
	s.setParts(l.parts)
	err = cmp.Or(s.replay(), s.check())
	return cmp.Or(<-outcomes, err)
}

// addSummary makes what a shared log knows of its snapshot a part of the state.
func (s *Store) addSummary() error {
	raw := s.shared.Summary()
	if raw == nil {
		return nil
	}
	summary, err := decodeState(raw)
	if err == nil && summary.Snapshot > s.state.End {
		err = fmt.Errorf("the snapshot is of %d, and the log ends at %d", summary.Snapshot, s.state.End)
	}
	s.state.Snapshot, s.state.Pieces, s.state.Digest = summary.Snapshot, summary.Pieces, summary.Digest
	return err
}

type loader struct {
	arena *arena

	mu     sync.Mutex // guards what follows
	parts  []*part
	digest uint64
}

// newWorker returns a function that reads pieces, for one goroutine.
func (l *loader) newWorker() func(key string, value []byte) error {
	entries := appender{arena: l.arena}
	var r record
	return func(key string, value []byte) error {
		if err := unseal(piecePlace(key), value); err != nil {
			return err
		}
		p := &part{from: strings.Clone(key), written: true, sum: binary.BigEndian.Uint32(value)}
		p.refs = make([]ref, 0, len(value)/64)
		err := eachEntry(value[pieceHeader:], func(e *entry) error {
			if e.name() < key || !e.known() {
				return malformed("%q is not one of the names of its piece", e.name())
			}
			at, _ := entries.add(e.bytes())
			p.refs = append(p.refs, at)
			return r.read(e.name(), e)
		})
		l.mu.Lock()
		defer l.mu.Unlock()
		l.parts = append(l.parts, p)
		l.digest += uint64(p.sum)
		return err
	}
}

// eachEntry calls yield with the entries that b consists of, which are views.
func eachEntry(b []byte, yield func(*entry) error) error {
	for len(b) > 0 {
		e, err := decodeEntry(b)
		if err == nil {
			err = yield(e)
		}
		if err != nil {
			return err
		}
		b = b[e.size():]
	}
	return nil
}

// setParts makes what the pieces hold the order, and indexes it. Names of pieces that were written at different times may
// have the same address: the log says which one it is.
func (s *Store) setParts(parts []*part) {
	slices.SortFunc(parts, func(a, b *part) int { return strings.Compare(a.from, b.from) })
	if len(parts) == 0 || parts[0].from != "" {
		parts = slices.Insert(parts, 0, &part{})
	}
	for i, p := range parts {
		if i+1 < len(parts) { // of names from the next key on a piece is out of date
			p.refs = slices.DeleteFunc(p.refs, func(r ref) bool { return s.order.name(r) >= parts[i+1].from })
		}
		s.order.n += len(p.refs)
	}
	s.order.parts = parts
	s.names.init(&s.arena, false, s.order.n)
	s.addresses.init(&s.arena, true, s.order.n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, p := range parts {
			s.names.fill(p)
			for _, r := range p.refs {
				s.arena.use(r, 1)
			}
		}
	})
	wg.Go(func() {
		for _, p := range parts {
			s.addresses.fill(p)
		}
	})
	wg.Wait()
}

// replay brings what the pieces say up to date.
func (s *Store) replay() error {
	return s.eachGroup(s.state.Snapshot, s.state.End, func(_ uint64, g *group) error {
		_ = eachEntry(g.entries, func(e *entry) error { // a pass ahead, in which the processor fetches many slots at once
			s.names.fetch(s.names.hash(e.name()))
			s.addresses.fetch(s.addresses.hash(e.address()))
			return nil
		})
		return eachEntry(g.entries, func(e *entry) error {
			n := nameChange{name: e.name()}
			n.oldAt, n.old = s.names.get(n.name)
			if n.old != nil && string(n.old.bytes()) == string(e.bytes()) {
				// As about half of them: their piece was written since. Only who has the address may not be known.
				if n.old.has(isRegistered) {
					s.addresses.put(n.oldAt, n.old)
				}
				return nil
			}
			n.newAt, n.new = s.entries.add(e.bytes())
			s.publishName(&n)
			return nil
		})
	})
}

func (s *Store) indexOutcomes() error {
	return s.eachGroup(s.state.Outcomes, s.state.End, func(position uint64, g *group) error {
		for at, o := range g.eachOutcome() {
			s.outcomes.add(o.ID, at)
		}
		if len(g.outcomes) > 0 {
			s.outcomeGroups = append(s.outcomeGroups, groupAt{position, g.outcomesAt + uint64(len(g.outcomes)+len(g.entries)), g.at.Lease})
		}
		return nil
	})
}

// eachGroup calls yield with the groups between two positions. They are valid until it returns.
func (s *Store) eachGroup(from, to uint64, yield func(position uint64, g *group) error) error {
	size := to - from
	r := bufio.NewReaderSize(io.NewSectionReader(s.log, int64(from), int64(size)), int(min(size, 1<<20)))
	var b []byte
	for position := from; position < to; position += uint64(len(b)) {
		header, err := r.Peek(groupHeader)
		if err != nil {
			return err
		}
		n := groupLength(header)
		if n > to-position {
			return malformed("%s is too long", groupPlace(position))
		}
		b = slices.Grow(b[:0], int(n))[:n]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		g, err := decodeGroup(position, b)
		if err == nil {
			err = yield(position, &g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check counts the names, and finds those that have ended and those that are held.
func (s *Store) check() error {
	n := 0
	for _, e := range s.order.all {
		n += boolToInt(e.has(isRegistered))
		s.held += boolToInt(e.has(isHeld))
		s.ended.change(nil, e)
	}
	sortEnded(s.ended.queue)
	if n != s.addresses.len() || uint64(n) != s.state.Registered {
		return fmt.Errorf("%d names are registered at %d addresses, and should be %d", n, s.addresses.len(), s.state.Registered)
	}
	return nil
}
