package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"foyer"
	"foyer/storage"
)

// A fault is what goes wrong with one transaction.
type fault int

const (
	noFault     fault = iota
	refused           // the disk is full or fails: nothing has happened
	lost              // nothing has happened, but the store does not know
	kept              // all has happened, but the store does not know
	crashBefore       // the power fails before the transaction is durable
	crashAfter        // the power fails when it is durable and nobody knows yet
)

// diskFaults says how often what goes wrong with a transaction, as
// probabilities, and how long one takes.
type diskFaults struct {
	refused, lost, kept, crash, stall float64

	// How often it cannot be found out at once what became of a transaction that
	// was lost or kept, and for how long at most. Nothing can be written then.
	doubt   float64
	settles time.Duration

	usual   time.Duration // the most that a transaction takes usually
	stalled time.Duration // the most that it takes in a stall
}

var errInjected = errors.New("an injected fault")

// retryInterval is how often, at most, a store looks what became of a transaction in
// doubt, as storage/bolt does.
const retryInterval = 250 * time.Millisecond

// A disk is the store of one run of the registry: a real one, with faults,
// delays, and a journal of what has become durable. What is not set once is
// owned by the goroutine that calls Update.
type disk struct {
	storage.Store // set once, as are the next ones
	medium        medium
	time          *timeline
	journal       *journal
	powerOff      func()      // ends the registry
	full          func() bool // whether the disk is
	faults        func() *diskFaults

	rand    *rand.Rand
	doubted *page     // of the transaction in doubt; nil when there is none
	settled time.Time // when it can be known
	tried   time.Time // when that was last tried

	killed chan struct{} // closed when the registry is
	kill   func()        // closes it; may be called again
}

func (d *disk) init() {
	d.killed = make(chan struct{})
	d.kill = sync.OnceFunc(func() { close(d.killed) })
}

// Update implements [storage.Store]. A kill can come before the transaction,
// and when it is durable and has not been answered.
func (d *disk) Update(now storage.Instant, fn func(storage.Tx) error) error {
	defer d.time.transaction(d.time.now())
	d.journal.begun.Add(1)
	f, doubt, before, after := d.chance()
	if !d.wait(before) {
		return errUncertain
	}
	if d.doubted != nil {
		if time.Since(d.tried) < retryInterval {
			return storage.Unavailable(errInjected)
		}
		if d.tried = time.Now(); d.tried.Before(d.settled) {
			return storage.Unavailable(errInjected)
		}
		d.doubted = nil
	}
	err := d.write(now, fn, f, doubt)
	if !d.wait(after) {
		return errUncertain
	}
	return err
}

var errUncertain = fmt.Errorf("%w: %w", storage.ErrUncertain, errInjected)

// Recorded implements [storage.Store].
func (d *disk) Recorded(id foyer.ID) bool {
	if d.doubted != nil {
		for i := range d.doubted.outcomes {
			if d.doubted.outcomes[i].ID == id {
				return true
			}
		}
	}
	return d.Store.Recorded(id)
}

// chance draws the fate of a transaction, and how long it is in doubt if it is lost
// or kept, always with as many draws, so that one kind of fault does not change
// when others come.
func (d *disk) chance() (f fault, doubt, before, after time.Duration) {
	which, stalls, long, share := d.rand.Float64(), d.rand.Float64(), d.rand.Float64(), d.rand.Float64()
	doubts, settles := d.rand.Float64(), d.rand.Float64()
	faults := d.faults()
	if doubts < faults.doubt {
		doubt = time.Duration(settles * float64(faults.settles))
	}
	most := faults.usual
	if stalls < faults.stall {
		most = faults.stalled
	}
	took := time.Duration(long * float64(most))
	before = time.Duration(share * float64(took))
	for _, c := range []struct {
		fault
		probability float64
	}{
		{refused, faults.refused},
		{lost, faults.lost},
		{kept, faults.kept},
		{crashBefore, faults.crash / 2},
		{crashAfter, faults.crash / 2},
	} {
		if which < c.probability {
			f = c.fault
			break
		}
		which -= c.probability
	}
	return f, doubt, before, took - before
}

// wait returns false if the registry is killed before d is over.
func (d *disk) wait(long time.Duration) bool {
	t := time.NewTimer(long)
	defer t.Stop()
	select {
	case <-d.killed:
		return false
	case <-t.C:
		return true
	}
}

// write carries out the transaction, unless the fault prevents that.
func (d *disk) write(now storage.Instant, fn func(storage.Tx) error, f fault, doubt time.Duration) error {
	if d.full() {
		f = refused
	}
	var p page
	update := func() error {
		return d.Store.Update(now, func(tx storage.Tx) error {
			p = page{now: now} // fn may run again
			if err := fn(scribe{tx, &p}); err != nil {
				return err
			}
			if f == refused || f == lost {
				return errInjected
			}
			return nil
		})
	}
	var err error
	if f == crashBefore || f == crashAfter {
		err = d.medium.powerFails(f == crashAfter, update)
		d.powerOff()
	} else {
		err = update()
	}
	switch {
	case err == nil && f != crashBefore:
		d.journal.commit(&p)
	case err != nil && !errors.Is(err, errInjected):
		return err
	}
	switch f {
	case noFault:
		return nil
	case refused:
		return storage.Unavailable(errInjected)
	default:
		if doubt > 0 {
			d.tried = time.Now()
			d.doubted, d.settled = &p, d.tried.Add(doubt)
		}
		return errUncertain
	}
}
