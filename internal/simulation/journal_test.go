package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/wire"
)

// A journal knows what the disk has to hold: it is told of every transaction
// that has become durable. The one goroutine that changes the store owns it.
type journal struct {
	rooms     map[foyer.Name]foyer.Registration
	outcomes  map[foyer.ID]outcome
	addresses []foyer.Address          // all that may be in use
	verb      func(foyer.ID) wire.Verb // of a request that was seen
	problems  *problems
	time      *timeline
	last      storage.Instant
	recorded  int
	changes   int

	// Read by any goroutine: the transactions that were begun, and the renewals that
	// were recorded, by id.
	begun    atomic.Int64
	renewals sync.Map
}

// An outcome is one with the time and when it was recorded.
type outcome struct {
	storage.Outcome
	at      storage.Instant
	durable time.Duration // when it became so, from the beginning of the world
}

// A page is what one transaction did.
type page struct {
	now      storage.Instant
	events   []storage.Event
	outcomes []storage.Outcome
}

// commit writes a page down.
func (j *journal) commit(p *page) {
	changes, grants := 0, 0   // by REGISTER and DEREGISTER,
	extended, renewed := 0, 0 // and by RENEW, whose grant need not change anything
	for _, e := range p.events {
		r := e.Registration
		if r.Exits != exitsAt(r.Address) {
			j.problems.add("%q, at %s, %s with the exits %q", r.Name, r.Address, e.Kind, r.Exits)
		}
		switch e.Kind {
		case storage.Registered, storage.Replaced:
			changes++
			j.rooms[r.Name] = r
		case storage.Extended:
			if e.From.IsValid() { // not the registry's own checkpoint
				extended++
			}
			j.rooms[r.Name] = r
		case storage.Deregistered:
			changes++
			delete(j.rooms, r.Name)
		case storage.Expired, storage.Evicted:
			was := j.rooms[r.Name]
			// A registry that is started anew may leave out the tick that is added to a ttl.
			const tick = 250 * time.Millisecond
			if e.Kind == storage.Expired && (was.TTL == 0 || p.now.Lease < was.LeaseEnd-tick) {
				j.problems.add("a lease of %q ended at %v, and what is written is %v", r.Name, p.now.Lease, was)
			}
			delete(j.rooms, r.Name)
		}
	}
	for _, o := range p.outcomes {
		if before, twice := j.outcomes[o.ID]; twice {
			j.problems.add("the id %x was carried out twice: %q, then %q", o.ID, before.Reply, o.Reply)
		}
		o.Reply = bytes.Clone(o.Reply)
		j.outcomes[o.ID] = outcome{o, p.now, j.time.now()}
		if reply, err := wire.ParseReply(o.Reply); err != nil {
			j.problems.add("the recorded reply %q: %v", o.Reply, err)
		} else if reply.OK {
			if j.verb(o.ID) == wire.Renew {
				renewed++
			} else {
				grants++
			}
		}
		if j.verb(o.ID) == wire.Renew {
			j.renewals.Store(o.ID, recordedRenewal{o.Reply, j.begun.Load(), j.time.now()})
		}
	}
	if changes != grants || extended > renewed {
		j.problems.add("a transaction made %d changes and recorded %d grants, and by renewals %d and %d", changes, grants, extended, renewed)
	}
	j.recorded += len(p.outcomes)
	j.changes += changes + extended
	if p.now.Wall.Before(j.last.Wall) || p.now.Lease < j.last.Lease {
		j.problems.add("the registry's clock ran back from %v to %v", j.last, p.now)
	}
	j.last = p.now
}

// denied notes that a request was told that nothing was changed, for want of a
// disk that can be written. The journal's owner calls it.
func (j *journal) denied(id foyer.ID) {
	if o, ok := j.outcomes[id]; ok && j.last.Lease-o.at.Lease <= storage.OutcomeRetention {
		j.problems.add("the id %x was carried out, with %q, and then refused as if it had not been", id, o.Reply)
	}
}

type recordedRenewal struct {
	reply       []byte
	transaction int64         // that recorded it,
	durable     time.Duration // and when, from the beginning of the world
}

// renewed returns the recorded reply to a RENEW, as long as it is surely kept. Copies
// of it in the same transaction, whose replies are sent with its own, may have come
// when there was nothing to record yet, and are passed over.
func (j *journal) renewed(id foyer.ID) []byte {
	v, _ := j.renewals.Load(id)
	if r, ok := v.(recordedRenewal); ok && r.transaction < j.begun.Load() && j.time.now()-r.durable < storage.OutcomeRetention {
		return r.reply
	}
	return nil
}

// granted reports whether the reply to a RENEW of that id was recorded.
func (j *journal) granted(id foyer.ID) bool {
	_, ok := j.renewals.Load(id)
	return ok
}

// audit compares a store with the journal. The store must not be in use.
func (j *journal) audit(s storage.Store, occasion string) {
	problem := func(format string, args ...any) { j.problems.add(occasion+": "+format, args...) }
	found := map[foyer.Name]bool{}
	places := map[foyer.Address]foyer.Name{}
	for r, err := range storage.All(s, 16) {
		if err != nil {
			problem("%v", err)
			return
		}
		found[r.Name] = true
		if want, ok := j.rooms[r.Name]; !ok {
			problem("%q is registered at %s, and should not be", r.Name, r.Address)
		} else if fmt.Sprint(r) != fmt.Sprint(want) {
			problem("%q is %v, and should be %v", r.Name, r, want)
		}
		if other, twice := places[r.Address]; twice {
			problem("%s is the address of %q and of %q", r.Address, other, r.Name)
		}
		places[r.Address] = r.Name
	}
	for _, name := range slices.Sorted(maps.Keys(j.rooms)) {
		if !found[name] {
			problem("%q was registered and is lost", name)
		}
	}
	err := s.Update(j.last, func(tx storage.Tx) error {
		for _, addr := range j.addresses {
			switch name, err := tx.NameAt(addr); {
			case errors.Is(err, foyer.ErrUnknownName):
				name = ""
				fallthrough
			case err == nil:
				if name != places[addr] {
					problem("the index of addresses has %q at %s, that of names %q", name, addr, places[addr])
				}
			default:
				return err
			}
		}
		for id, o := range j.outcomes {
			if j.last.Lease-o.at.Lease > storage.OutcomeRetention {
				continue
			}
			switch found, ok, err := tx.Outcome(id); {
			case err != nil:
				return err
			case !ok:
				problem("the outcome of %x is lost: %q", id, o.Reply)
			case !bytes.Equal(found.Reply, o.Reply) || found.Fingerprint != o.Fingerprint:
				problem("the outcome of %x is %q, and was %q", id, found.Reply, o.Reply)
			}
		}
		return errAudited
	})
	if !errors.Is(err, errAudited) {
		problem("%v", err)
	}
}

var errAudited = errors.New("audited")

// A scribe is a transaction that writes down what is done in it.
type scribe struct {
	storage.Tx
	page *page
}

func (s scribe) Apply(e storage.Event) error {
	err := s.Tx.Apply(e)
	if err == nil {
		s.page.events = append(s.page.events, e)
	}
	return err
}

func (s scribe) Record(o storage.Outcome) error {
	err := s.Tx.Record(o)
	if err == nil {
		o.Reply = bytes.Clone(o.Reply)
		s.page.outcomes = append(s.page.outcomes, o)
	}
	return err
}
