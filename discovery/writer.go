package discovery

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
)

// writeLoop is the one goroutine that changes the store. It takes whatever is
// waiting and commits it as one transaction; what arrives meanwhile is the next
// one. It never waits for company. If it cannot begin it calls giveUp.
func (s *Server) writeLoop(giveUp func(), intakes []*intake) error {
	w := writer{Server: s, intakes: intakes, meter: s.newMeter()}
	defer w.changeLog.sum(w.log, true)
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
			if len(s.toWrite) == 0 {
				idle = always
			}
		}
		select {
		case <-idle:
		case x, ok := <-s.toWrite:
			if !ok {
				w.keepTime(0)
				return nil
			}
			s.writing.Store(true)
			w.group = append(w.group[:0], x)
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
	intakes   []*intake // one for each socket
	meter     *meter
	lookups   lookups
	effects   []effect       // of the last transaction, for the next
	group     []*exchange    // at most queueLength, and a batch
	out       []udp.Datagram // their replies
	names     []foyer.Name
	changeLog changeLog
	removed   bool      // the store failed because its database was removed
	failed    time.Time // when it last did
	behind    bool      // leases have ended that the last catchUp had no room for

	// uncertain is true while it is not known whether a transaction happened, and
	// doubtful are the names that it may have changed. Until that is settled there
	// is no other transaction.
	uncertain bool
	doubtful  map[foyer.Name]netip.Addr // and for whom they were counted, see effect.was
}

// loadLeases starts the leases of all registrations. Look-ups are answered
// meanwhile; whatever changes something waits. While the registry was down no
// lease ran: a short one begins anew, as its renewals are not written; a long one
// ends at most checkpointEvery after the end that is written, see outruns.
func (w *writer) loadLeases() error {
	if err := w.loadRestored(); err != nil {
		return err
	}
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
		w.leases.put(&r, asked, unheard)
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
	for x := range w.toWrite {
		w.refuseRest(x, &w.lookups, w.deny)
		w.out = w.reply(w.meter, w.out, x)
	}
}

func (w *writer) tick() {
	if w.clock.advance() {
		w.commits.stalled()
		w.log.Warn("the registry was stalled; leases are extended", "grace", leaseGrace)
		w.leases.setFloor(w.clock.leaseNow())
	}
	w.noteLate()
	w.catchUp()
	w.checkStore()
	w.probe()
	w.feed.rest()
	w.changeLog.sum(w.log, false)
}

// gather takes what else is waiting, also what the readers have not come to yet:
// the larger the group, the less each pays for the flush. It does not wait for
// more.
func (w *writer) gather() {
	for {
		w.drainQueue()
		if len(w.group) >= queueLength || !w.takeIn() {
			return
		}
	}
}

func (w *writer) drainQueue() {
	for len(w.group) < queueLength {
		select {
		case x, ok := <-w.toWrite:
			if !ok {
				return
			}
			w.group = append(w.group, x)
		default:
			return
		}
	}
}

// takeIn takes a batch in from every socket that its reader is not at, and reports
// whether that was anything. What the batch asks for beside transactions is answered
// on the way, as the reader would.
func (w *writer) takeIn() (more bool) {
	for _, t := range w.intakes {
		if !t.mu.TryLock() {
			continue
		}
		w.drainQueue() // what the reader has taken in came before
		if len(w.group) < queueLength {
			n, forWriter, _ := t.takeIn() // the reader will see an error too
			w.group = append(w.group, forWriter...)
			more = more || n > 0
		}
		t.mu.Unlock()
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
	t.changeLog = &w.changeLog
	w.feed.commits <- struct{}{}
	defer func() { <-w.feed.commits }()
	began, outcomes := w.since(), 0
	err := w.store.Update(now, func(tx storage.Tx) error {
		t.Tx, t.now, t.effects, t.asks, t.changed = tx, tx.Now(), t.effects[:0], nil, false
		t.changeLog.begin()
		w.quota.begin()
		if err := fn(t); err != nil {
			return err
		}
		outcomes = t.Outcomes()
		return w.store.Check()
	})
	took := w.since() - began
	if t.holds || w.uncertain {
		w.holds.known.Store(false)
	}
	unchanged := errors.Is(err, errUnchanged)
	if unchanged {
		err = nil
	}
	switch {
	case errors.Is(err, storage.ErrUncertain):
		w.commits.failed(commitUncertain, took)
		w.noteFailure(err)
	case errors.Is(err, foyer.ErrUnavailable):
		w.commits.failed(commitUnavailable, took)
		w.noteFailure(err)
	case err == nil && !unchanged:
		w.noteSuccess()
	}
	if err != nil {
		return err
	}
	if !unchanged {
		w.commits.done(took, &w.changeLog, outcomes)
		w.changeLog.durable(w.log)
	}
	w.quota.commit(t.effects)
	for i := range t.effects {
		switch e := &t.effects[i]; {
		case e.ends:
			w.leases.drop(e.registration.Name)
		case e.rescue:
			w.leases.rescue(e.registration.Name, now.Lease)
		default:
			heard := unheard
			if e.heard {
				heard = now.Lease
			}
			w.leases.put(&e.registration, e.asked, heard)
		}
	}
	w.feed.publish(now.Wall, t.effects) // their leases can be read by now
	return nil
}

// commit carries out the group and answers it.
func (w *writer) commit() {
	w.commits.group(len(w.group))
	for _, x := range w.group {
		x.mark()
	}
	err := w.update(func(t *transaction) error {
		for _, x := range w.group {
			x.rewind()
			if err := t.carryOut(x); err != nil {
				return err
			}
		}
		if !t.changed { // retries, say, whose outcomes are on the disk already
			return errUnchanged
		}
		return nil
	})
	for _, x := range w.group {
		switch {
		case err == nil:
		case errors.Is(err, storage.ErrUncertain):
			// Whether it happened is not known: silence, and the retry will tell.
			x.out.reset(0)
		default:
			x.rewind()
			w.refuseRest(x, &w.lookups, w.deny)
		}
	}
	w.out = w.reply(w.meter, w.out, w.group...)
	clear(w.group)
}

// errUnchanged makes the store give up a transaction that there is no need to
// flush to the disk.
var errUnchanged = errors.New("nothing was changed")

// deny is the [denial] of a request whose transaction has changed nothing: it is told
// so, unless an earlier copy of it may have changed something. What may have
// happened is not denied; its retries will be told.
func (w *writer) deny(r *request) *foyer.Error {
	if w.inDoubt(foyer.Name(r.name)) || r.recorded() && w.store.Recorded(r.UUID) {
		return nil
	}
	return errUnavailable
}

var errUnavailable = &foyer.Error{Code: foyer.Unavailable, Text: "the registry cannot write to its database now; nothing was changed"}

// inDoubt reports whether it is not known what the store has of a name.
func (w *writer) inDoubt(name foyer.Name) bool {
	_, doubtful := w.doubtful[name]
	return doubtful
}

// settle finds out what an uncertain transaction has left behind, so that no
// registration is without the lease that it should have. Such a lease begins
// anew.
func (w *writer) settle() error {
	if !w.uncertain {
		return nil
	}
	t := transaction{server: w.Server}
	err := w.transact(&t, func(t *transaction) error {
		for _, name := range slices.Sorted(maps.Keys(w.doubtful)) {
			was := w.doubtful[name]
			reg, err := t.Get(name)
			switch {
			case errors.Is(err, foyer.ErrUnknownName):
				t.effects = append(t.effects, effect{registration: foyer.Registration{Name: name}, was: was, ends: true})
			case err != nil:
				return err
			default:
				reg.LeaseEnd = t.now.Lease + tick + reg.TTL
				t.effects = append(t.effects, effect{registration: reg, was: was, asked: w.notAsked()})
			}
		}
		return nil
	})
	if err == nil {
		w.uncertain, w.doubtful = false, nil
	}
	return err
}
