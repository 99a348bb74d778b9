package bolt

import (
	"go.etcd.io/bbolt"

	"foyer/storage"
)

// Folding: what the log says of names is carried into the bucket of rooms
// behind the writer. A sweep moves through the pending events by their names, a
// few with each Update, in the same transaction. A page of the bucket holds some
// 30 names; the more events are pending, the more of them share each page that a
// sweep writes.

// A pace says how far the folding may lag, and with it what bounds the log and
// the pending events: pages written are traded against memory, and against log
// to be read on opening.
type pace struct {
	// A sweep is to take one name in share, but no fewer than minSweep and no
	// more than maxSweep; on average half as many are pending.
	share, minSweep, maxSweep int

	// A sweep must be over after minSweepBlocks blocks of log, or an eighth of
	// a block for each of its events, even if the same few names change all the
	// time: then foldStep events are folded with every Update.
	minSweepBlocks int
	foldStep       int

	// While bbolt has enoughFreePages the log is not trimmed, and if it has
	// not, by trimBlocks at a time: the list of free pages is written with each
	// commit, and the file would not get smaller anyway.
	enoughFreePages int
	trimBlocks      uint64
}

var defaultPace = pace{
	share: 2, minSweep: 1 << 18, maxSweep: 1 << 22,
	minSweepBlocks: 1 << 13, foldStep: 256,
	enoughFreePages: 128, trimBlocks: 512,
}

const (
	// maxFoldOnClose bounds how long Close takes: some seconds.
	maxFoldOnClose = 1 << 20

	// expireGroups is the most groups whose outcomes one Update lets go. It
	// adds but one.
	expireGroups = 4
)

// foldQuota returns how many events to fold with an Update that changes a given
// number of names: as many, when as many are pending as should be; more or fewer
// in proportion.
func (s *Store) foldQuota(changed int) int {
	p := &s.options.pace
	sweep := min(max(s.Len()/p.share, p.minSweep), p.maxSweep)
	quota := changed * s.pending.len() / (sweep / 2)
	// The second condition is for a process that has been killed again and
	// again before a sweep was over.
	late := uint64(max(p.minSweepBlocks, sweep/8))
	if s.state.tail-s.sweepStart > late || s.state.tail-s.state.folded > 2*late {
		quota = max(quota, p.foldStep)
	}
	return min(quota, 4*changed+p.foldStep)
}

// fold writes to the rooms what the next quota pending events say, none of them
// this transaction's.
func (t *tx) fold(quota int) error {
	s := t.store
	if quota == 0 {
		return nil
	}
	s.mu.Lock() // List reads what take moves
	t.folded = s.pending.take(quota)
	t.sweepEnds = s.pending.endsWith(len(t.folded))
	s.mu.Unlock()

	rooms := t.btx.Bucket(bucketRooms)
	look := rooms.Cursor() // Get would make one for each name
	for rest := t.folded; len(rest) > 0; {
		end := s.pending.endOfName(rest, 1)
		if err := t.foldName(rooms, look, rest[:end]); err != nil {
			return err
		}
		rest = rest[end:]
	}
	switch {
	case len(t.folded) == s.pending.len():
		t.next.folded = t.position
	case t.sweepEnds:
		t.next.folded = s.sweepStart
	}
	return nil
}

// foldName folds the events of one name.
func (t *tx) foldName(rooms *bbolt.Bucket, look *bbolt.Cursor, events []pendingEvent) error {
	s, r := t.store, &t.record
	*r = record{history: r.history[:0]}
	name := s.pending.name(events[0])
	k, old := look.Seek(viewBytes(name))
	if k == nil || viewString(k) != name {
		old = nil
	} else if err := r.decode(name, old, recordWhole); err != nil {
		return damaged(err)
	}
	// Of nothing new, a crash came between its fold and the end of the sweep.
	p := s.pending.merge(&t.merged, events, r.position)
	if p == nil {
		return nil
	}
	after := record{position: p.position, ending: p.ending, history: p.historyAfter(r.history)}
	if p.known {
		after.registered, after.current = p.registered(), p.current
	} else {
		after.registered, after.current = r.registered, r.current
	}
	if !after.registered && len(after.history) == 0 {
		if old != nil {
			t.next.uncounted(old)
		}
		return rooms.Delete(viewBytes(name))
	}
	start := len(t.records)
	t.records = appendRecord(t.records, name, &after)
	value := t.records[start:len(t.records):len(t.records)]
	if old != nil {
		t.next.uncounted(old)
	}
	t.next.counted(value)
	return rooms.Put(viewBytes(name), value)
}

func (s *Store) publishFold(t *tx) {
	s.pending.done(t.folded, t.sweepEnds)
	if t.sweepEnds || s.pending.len() == 0 {
		s.sweepStart = t.position
	}
}

// expireOutcomes lets go of outcomes that have been kept long enough, and of groups
// without any.
func (t *tx) expireOutcomes(log *bbolt.Bucket) error {
	s := t.store
	t.clocks = s.clocks
	for range expireGroups {
		if t.next.outcomes == t.position {
			return nil // none but this transaction's own
		}
		position := t.next.outcomes
		if t.clocks.position == position && !expired(t.clocks.at, t.now) {
			return nil
		}
		g, err := readGroup(log, position)
		if err != nil {
			return err
		}
		n := len(t.expired)
		at, err := decodeGroup(position, g, visitor{outcome: func(offset int, o storage.Outcome) {
			t.expired = append(t.expired, s.outcomes.slot(o.ID, 0).at(position, offset))
		}})
		if err != nil {
			return damaged(err)
		}
		t.clocks = groupClocks{position, at}
		if len(t.expired) > n && !expired(at, t.now) {
			t.expired = t.expired[:n]
			return nil
		}
		t.next.outcomes += blocks(len(g))
	}
	return nil
}

// trimLog deletes blocks that are of no use any more, when there are not enough
// free pages to go on with.
func (t *tx) trimLog(log *bbolt.Bucket) error {
	p := &t.store.options.pace
	end := min(t.next.live(), t.next.head+p.trimBlocks)
	if t.next.head == end || t.store.db.Stats().FreePageN >= p.enoughFreePages {
		return nil
	}
	for ; t.next.head < end; t.next.head++ {
		if err := log.Delete(blockKey(t.next.head)); err != nil {
			return err
		}
	}
	return nil
}

// foldAll folds what is pending, up to maxFoldOnClose names, in transactions of
// their own.
func (s *Store) foldAll() {
	const step = 4096
	for n := 0; s.pending.len() > 0 && n < maxFoldOnClose; n += step {
		if err := s.foldOnly(step); err != nil {
			return // the log still has it
		}
	}
}

// foldOnly is an Update that changes nothing but folds.
func (s *Store) foldOnly(quota int) error {
	btx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer rollback(btx)
	t := s.begin(btx, s.state.last)
	err = guard(func() error {
		t.next, t.position, t.clocks = s.state, s.state.tail, s.clocks
		if err := t.fold(quota); err != nil {
			return err
		}
		return putState(btx, &t.next)
	})
	if err != nil {
		return err
	}
	if err := guard(func() error { return s.commitBolt(btx) }); err != nil {
		return err
	}
	s.publish(t)
	return nil
}
