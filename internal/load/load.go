// Package load puts load on a registry and measures the answers: the engine of
// `registry bench`.
//
// A load has flows, each a UDP socket with a window of request datagrams in
// flight. Without a rate every answer makes room for the next request (a closed
// loop): that measures throughput. With a rate, requests are due at fixed
// times, and latency counts from when a request was due, not from when it could
// be sent, so that a registry that stalls does not look better for being asked
// less (coordinated omission).
package load

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"foyer"
	"foyer/wire"
)

// Work is what the requests of a load ask for.
type Work string

// The kinds of work. Lookup and Renew use Options.Names rooms from Options.Base
// on, Register a new room for every request, from Options.First on.
const (
	Lookup   Work = "lookup"
	Register Work = "register"
	Renew    Work = "renew"
	Mixed    Work = "mixed" // nine look-ups for each registration

	// Options.Names rooms from Options.First on, each once.
	Fill  Work = "fill"  // registers them
	Clear Work = "clear" // deregisters them
)

// Options describe a load.
type Options struct {
	Target   netip.AddrPort
	Work     Work
	Flows    int           // sockets
	Window   int           // request datagrams in flight for each
	Lines    int           // requests to a datagram
	Names    uint64        // number of rooms
	Base     uint64        // number of the first room for Lookup and Renew
	First    uint64        // number of the first room for Register, Fill and Clear
	TTL      time.Duration // of the leases asked for, 0 for none
	Duration time.Duration // Fill and Clear end when they are done instead
	Rate     float64       // requests a second over all flows, 0 for a closed loop
	Seed     uint64

	// Progress, if not nil, is called about once a second.
	Progress func(done uint64, elapsed time.Duration)
}

// A Result is what a load measured.
type Result struct {
	Requests uint64                // answered, with OK or NOTOK
	Refused  map[foyer.Code]uint64 // of those, by code; "" stands for a refusal without one
	Lost     uint64                // not answered within a second
	Next     uint64                // the number after the last room that Register, Fill or Clear asked for
	Elapsed  time.Duration
	Latency  *hdrhistogram.Histogram // in LatencyUnit, from sending, or from being due, to the answer
}

// LatencyUnit is the unit of Result.Latency.
const LatencyUnit = 100 * time.Nanosecond

// Rate returns the requests answered per second.
func (r *Result) Rate() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// Quantile returns the latency that q per cent of requests did not exceed.
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q)) * LatencyUnit
}

// lossTimeout is when an unanswered request is given up.
const lossTimeout = time.Second

// silence is how long Fill and Clear, which have no set duration, go on while
// nothing is answered.
const silence = 5 * time.Second

const (
	// maxNames is what a registry can hold at most.
	maxNames = 1 << 24

	// Between minRate and maxRate the time between requests fits into a
	// Duration and is not zero.
	minRate = 0.001
	maxRate = 1e9
)

// Check validates the numbers.
func (o *Options) Check() error {
	switch {
	case o.Flows < 1 || o.Flows > maxFlows:
		return fmt.Errorf("%d flows: from 1 to %d are possible", o.Flows, maxFlows)
	case o.Window < 1 || o.Window > maxWindow:
		return fmt.Errorf("a window of %d datagrams: from 1 to %d are possible", o.Window, maxWindow)
	case o.Lines < 1 || o.Lines > maxLines:
		return fmt.Errorf("%d lines to a datagram: from 1 to %d are possible", o.Lines, maxLines)
	case o.Names < 1 || o.Names > maxNames && o.Work != Clear: // refused rooms are cleared too
		return fmt.Errorf("%d names: from 1 to %d are possible", o.Names, maxNames)
	case o.TTL != 0 && (o.TTL < time.Second || o.TTL > maxTTL || o.TTL%time.Second != 0):
		return fmt.Errorf("a lease of %v: whole seconds up to %v are possible", o.TTL, maxTTL)
	case o.Rate != 0 && !(o.Rate >= minRate && o.Rate <= maxRate): // excludes NaN
		return fmt.Errorf("%v requests a second: 0, or from %v to %v, are possible", o.Rate, minRate, maxRate)
	case o.Duration <= 0 && o.Work != Fill && o.Work != Clear:
		return fmt.Errorf("a duration of %v: it must be more than 0", o.Duration)
	}
	// All requests of a kind have the same length.
	work := o.Work
	if work == Mixed {
		work = Register
	}
	r := run{Options: *o}
	if n := (len(r.appendRequest(nil, work, 0, 0, time.Time{}))+1)*o.Lines - 1; n > wire.MaxDatagram {
		return fmt.Errorf("%d lines are %d bytes, and a datagram has %d at most", o.Lines, n, wire.MaxDatagram)
	}
	return nil
}

// maxTTL has five digits in seconds; a registry grants less.
const maxTTL = 24 * time.Hour

// Run puts the load on the registry until its time is over, its work is done or
// ctx ends. It fails if a socket cannot be opened or the registry does not
// answer; the Result has what was measured until then.
func Run(ctx context.Context, o Options) (*Result, error) {
	result := &Result{Next: o.First, Refused: map[foyer.Code]uint64{}, Latency: newHistogram()}
	if err := o.Check(); err != nil {
		return result, err
	}
	r := &run{Options: o, start: time.Now(), process: rand.Uint64()}
	r.next.Store(o.First)
	if o.Work == Fill || o.Work == Clear {
		r.last = o.First + o.Names
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	links, err := r.open()
	if err != nil {
		return result, err
	}
	stop := r.report(ctx)
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() { l.loop(ctx) })
	}
	wg.Wait()
	stop()

	result.Elapsed, result.Next = time.Since(r.start), r.next.Load()
	if r.last > 0 { // every flow has run out of work
		result.Next = min(result.Next, r.last)
	}
	for _, l := range links {
		l.sockets.Close()
		err = cmp.Or(err, l.err)
		result.Requests += l.answered
		result.Lost += l.lost
		for code, n := range l.refused {
			result.Refused[code] += n
		}
		result.Latency.Merge(l.latency)
	}
	if err == nil && result.Requests == 0 && ctx.Err() == nil {
		err = r.noAnswer()
	}
	return result, err
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(10*lossTimeout/LatencyUnit), 3)
}

// A run is the state that flows share.
type run struct {
	Options
	start   time.Time
	process uint64        // random, so that the ids of two processes differ
	next    atomic.Uint64 // room to register
	last    uint64        // where Fill and Clear end, or 0
	done    atomic.Uint64 // requests answered, for Progress
	heard   atomic.Int64  // nanoseconds from start to the latest answer
}

func (r *run) noAnswer() error { return fmt.Errorf("registry %s does not answer", r.Target) }

// report calls Progress until it is stopped.
func (r *run) report(ctx context.Context) (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				r.Progress(r.done.Load(), time.Since(r.start))
			case <-done:
				return
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// ParseWork parses a kind of work that users may ask for.
func ParseWork(s string) (Work, error) {
	switch w := Work(strings.ToLower(s)); w {
	case Lookup, Register, Renew, Mixed:
		return w, nil
	}
	return "", fmt.Errorf("no such work: %q is none of lookup, register, renew and mixed", s)
}
