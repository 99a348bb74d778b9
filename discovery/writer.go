package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
)

// writeLoop is the one goroutine that changes the store. It takes whatever is
// waiting and commits it as one transaction; what arrives meanwhile is the next
// one. It never waits for company. If it cannot begin it calls giveUp.
func (s *Server) writeLoop(giveUp func(), intakes []*intake) error {
	w := writer{Server: s, intakes: intakes, checkpointed: s.clock.leaseNow()}
	defer w.journal.sum(w.log, true)
	if err := w.loadLeases(); err != nil {
		giveUp()
		w.refuseAll()
		return fmt.Errorf("reading the leases: %w", err)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		// After a stall the clock is put right before anything else is done.
		select {
		case <-ticker.C:
			w.tick()
			continue
		default:
		}
		var idle <-chan struct{} // ready if nobody waits while there is work left
		if w.behind {
			w.catchUp()
			if len(s.queue) == 0 {
				idle = always
			}
		}
		select {
		case <-idle:
		case j, ok := <-s.queue:
			if !ok {
				w.checkpointed = -checkpointEvery
				w.keepTime()
				return nil
			}
			s.writing.Store(true)
			w.group = append(w.group[:0], j)
			w.gather()
			w.commit()
			s.writing.Store(false)
		case o := <-s.operations:
			o.done <- w.operate(o)
		case <-ticker.C:
			w.tick()
		}
	}
}

// writer is the writer's own state.
type writer struct {
	*Server
	intakes []*intake // one for each socket
	ahead   lookahead
	request request        // the line in hand
	effects []effect       // of the last transaction, for the next
	group   []*job         // at most queueLength
	out     []udp.Datagram // their replies
	names   []foyer.Name
	ends    []leaseEnd
	journal journal
	removed bool      // the store failed because its database was removed
	failed  time.Time // when it last did
	behind  bool      // leases have ended, or are to be checkpointed, that the last catchUp had no room for

	// When the writing of checkpoints last began, by the lease clock, and
	// whether it goes on.
	checkpointed  time.Duration
	checkpointing bool

	// uncertain is true while it is not known whether a transaction happened, and
	// doubtful are the names that it may have changed. Until that is settled there
	// is no other transaction.
	uncertain bool
	doubtful  map[foyer.Name]netip.Addr // and for whom they were counted, see effect.was
}

// loadLeases starts the leases of all registrations. Look-ups are answered
// meanwhile; whatever changes something waits. While the registry was down no
// lease ran: a short one begins anew, as renewals are not written; a long one
// goes on from its last checkpoint, at most one interval back.
func (w *writer) loadLeases() error {
	now, asked := w.clock.leaseNow(), w.notAsked()
	for r, err := range storage.All(w.store, DumpPage) {
		if err != nil {
			return err
		}
		if r.TTL > longLease {
			r.LeaseEnd = min(r.LeaseEnd+checkpointEvery, now+r.TTL)
		} else {
			r.LeaseEnd = now + r.TTL
		}
		w.leases.put(&r, asked)
		w.quota.count(counted(r.From), 1)
	}
	w.clock.resume()
	return nil
}

// notAsked is the time of the last request that said how long a lease is to be
// where that is not known any more: no request that was sent by now is later.
func (w *writer) notAsked() int64 { return w.clock.now().Add(idWindow).UnixMilli() }

// refuseAll answers what waits, until nothing more comes.
func (w *writer) refuseAll() {
	for j := range w.queue {
		w.serve(&j.exchange, &w.ahead, w.deny)
		w.finish(j)
	}
}

func (w *writer) tick() {
	if w.clock.advance() {
		w.log.Warn("the registry was stalled; leases are extended", "grace", leaseGrace)
		w.leases.setFloor(w.clock.leaseNow())
	}
	_ = w.settle()
	w.noteLate()
	w.catchUp()
	w.checkStore()
	w.probe()
	w.journal.sum(w.log, false)
}

// gather takes what else is waiting, also what the readers have not come to yet:
// the larger the group, the less each pays for the flush. It does not wait for
// more.
func (w *writer) gather() {
	for {
		w.drainQueue()
		if len(w.group) == queueLength || !w.poll() {
			return
		}
	}
}

func (w *writer) drainQueue() {
	for len(w.group) < queueLength {
		select {
		case j, ok := <-w.queue:
			if !ok {
				return
			}
			w.group = append(w.group, j)
		default:
			return
		}
	}
}

func (w *writer) poll() (more bool) {
	for _, t := range w.intakes {
		if t.poll() {
			more = true
		}
	}
	return more
}

// update runs fn in a transaction and brings the leases up to date with it.
func (w *writer) update(fn func(*transaction) error) error {
	if err := w.settle(); err != nil {
		return err
	}
	t := transaction{server: w.Server, effects: w.effects}
	err := w.transact(&t, fn)
	defer func() {
		clear(t.effects)
		w.effects = t.effects[:0]
	}()
	if errors.Is(err, storage.ErrUncertain) {
		w.uncertain = true
		w.doubtful = make(map[foyer.Name]netip.Addr, len(t.effects))
		for i := range t.effects {
			e := &t.effects[i]
			if _, twice := w.doubtful[e.registration.Name]; !twice {
				w.doubtful[e.registration.Name] = e.was
			}
		}
	}
	return err
}

// transact runs fn in a transaction and, when that is durable, gives its
// effects to the leases.
func (w *writer) transact(t *transaction, fn func(*transaction) error) error {
	now := w.clock.instant()
	t.journal = &w.journal
	err := w.store.Update(now, func(tx storage.Tx) error {
		t.Tx, t.now, t.effects, t.changed, t.ended = tx, now, t.effects[:0], false, false
		t.journal.begin()
		w.quota.begin()
		if err := fn(t); err != nil {
			return err
		}
		return w.store.Check()
	})
	unchanged := errors.Is(err, errUnchanged)
	if unchanged {
		err = nil
	}
	switch {
	case errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain):
		w.noteFailure(err)
	case err == nil && !unchanged:
		w.noteSuccess()
	}
	if err != nil {
		return err
	}
	if !unchanged {
		w.journal.durable(w.log)
	}
	w.quota.commit(t.effects)
	for i := range t.effects {
		switch e := &t.effects[i]; {
		case e.ends:
			w.leases.drop(e.registration.Name)
		case e.rescue:
			w.leases.rescue(e.registration.Name, now.Lease)
		default:
			w.leases.put(&e.registration, e.asked)
		}
	}
	return nil
}

// commit carries out the group and answers it.
func (w *writer) commit() {
	err := w.update(func(t *transaction) error {
		for _, j := range w.group {
			j.rewind()
			if err := w.carryOut(t, j); err != nil {
				return err
			}
		}
		if !t.changed { // retries, say, whose outcomes are on the disk already
			return errUnchanged
		}
		return nil
	})
	for _, j := range w.group {
		switch {
		case err == nil:
		case errors.Is(err, storage.ErrUncertain):
			// Whether it happened is not known: silence, and the retry will tell.
			j.out.reset(0)
		default:
			j.rewind()
			w.serve(&j.exchange, &w.ahead, w.deny)
		}
	}
	w.finishGroup()
}

// finishGroup sends the replies of the whole group, those of one socket
// together: 64 of them are one system call.
func (w *writer) finishGroup() {
	for rest := w.group; len(rest) > 0; {
		conn, n := rest[0].conn, 0
		w.out = w.out[:0]
		for n < len(rest) && rest[n].conn == conn {
			w.out = rest[n].datagrams(w.out)
			n++
		}
		if len(w.out) > 0 {
			_ = conn.Send(w.out)
		}
		for i, j := range rest[:n] {
			rest[i] = nil
			w.release(j)
		}
		rest = rest[n:]
	}
}

// errUnchanged makes the store give up a transaction that there is no need to
// flush to the disk.
var errUnchanged = errors.New("nothing was changed")

// carryOut carries out the lines of a job from where it stands.
func (w *writer) carryOut(t *transaction, j *job) error {
	for {
		line, end, more := j.next()
		if !more {
			return nil
		}
		if err := w.request.parse(line); err != nil {
			more = j.unreadable(&w.request, err)
		} else if more, err = t.carryOut(&j.exchange, &w.request); err != nil {
			return err
		}
		if !more {
			return nil
		}
		j.pos = end
	}
}
