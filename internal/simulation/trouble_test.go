package simulation

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"time"

	"foyer/internal/udptest"
	"foyer/wire"
)

// A climate says how much goes wrong in a world, and how often.
type climate struct {
	net     udptest.Faults
	disk    diskFaults
	trouble time.Duration // between two troubles, on average
	kinds   []trouble     // each is one of these
	replays time.Duration // between two datagrams of a stranger, on average
	pause   time.Duration // between two operations of a client, on average
	ttls    []time.Duration

	// The share of operations that concern what a client has registered itself, and of
	// REGISTERs, 0.5 at most; the more there are, the fewer RENEWs.
	own, registers float64
}

// climateOf draws a climate. Most worlds have all kinds of faults, but not all
// do, so that one fault does not always mask another.
func climateOf(r *rand.Rand) climate {
	pick := func(values ...float64) float64 { return values[r.IntN(len(values))] }
	span := func(values ...time.Duration) time.Duration { return values[r.IntN(len(values))] }
	return climate{
		net: udptest.Faults{
			Loss:      pick(0, 0.05, 0.2, 0.3),
			Duplicate: pick(0, 0.1, 0.3),
			Reorder:   pick(0, 0.1, 0.5),
			MinDelay:  time.Duration(100_000 + r.IntN(1_000_000)),
			MaxDelay:  span(2*time.Millisecond, 30*time.Millisecond, 400*time.Millisecond) + time.Duration(r.IntN(1_000_000)),
			Hold:      span(10*time.Millisecond, 300*time.Millisecond, 2*time.Second),
		},
		disk: diskFaults{
			refused: pick(0, 0.005, 0.03),
			lost:    pick(0, 0.003, 0.01),
			kept:    pick(0, 0.003, 0.01),
			crash:   pick(0, 0.003, 0.01),
			stall:   pick(0, 0.002, 0.01),
			usual:   span(time.Millisecond, 5*time.Millisecond, 15*time.Millisecond),
			stalled: span(500*time.Millisecond, 4*time.Second, 20*time.Second),
			doubt:   pick(0, 0.5, 1),
			settles: span(500*time.Millisecond, 8*time.Second),
		},
		trouble: span(3*time.Second, 10*time.Second, 40*time.Second),
		kinds:   []trouble{killed, killed, stopped, partition, clockSet, diskFull},
		replays: span(100*time.Millisecond, time.Second, time.Minute),
		pause:   span(200*time.Millisecond, time.Second, 2*time.Second),
		own:     0.7, registers: 0.25,
		ttls: []time.Duration{5 * time.Second, 7 * time.Second, 12 * time.Second, 40 * time.Second, 6 * time.Minute},
	}
}

// slowly changes a climate to one of leases so long that their ends are written, in
// which hours pass: they are renewed at any time, and so is the registry killed. The
// clock is right, for a replay hours later of what was too far ahead may take effect.
func slowly(c *climate) {
	c.pause, c.trouble, c.replays = 4*time.Minute, 3*time.Minute, time.Minute
	c.kinds = []trouble{killed, killed, stopped, partition, diskFull}
	c.ttls = []time.Duration{6 * time.Minute, 40 * time.Minute, time.Hour, 2 * time.Hour}
}

// doubtfully changes a climate to one in which it is often unknown for seconds whether
// a transaction happened, while leases run out.
func doubtfully(c *climate) {
	c.disk = diskFaults{lost: 0.02, kept: 0.2, doubt: 1, settles: 4 * time.Second, usual: 100 * time.Millisecond, stalled: time.Second}
	c.pause, c.trouble = 3*time.Second, time.Hour
	c.ttls = []time.Duration{5 * time.Second, 40 * time.Second}
	c.own, c.registers = 1, 0.5
}

// A trouble is something that happens to the registry as a whole.
type trouble int

const (
	killed    trouble = iota // as with kill -9
	stopped                  // as with SIGTERM
	partition                // some clients, or all, cannot reach the registry
	clockSet
	diskFull
)

// supervise makes trouble until stop is closed, and then puts everything right.
func (w *world) supervise(r *rand.Rand, stop <-chan struct{}) {
	for {
		t := time.NewTimer(time.Duration(r.ExpFloat64() * float64(w.climate.trouble)))
		select {
		case <-t.C:
			w.makeTrouble(r)
		case <-w.registry.failed:
			w.restart(r)
		case <-stop:
			t.Stop()
			w.net.Heal()
			w.net.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
			w.registry.full.Store(false)
			w.registry.faults.Store(&diskFaults{usual: time.Millisecond})
			// A write that has begun still has the fault that was drawn for it, and
			// the power may fail at its end.
			time.Sleep(w.climate.disk.stalled + w.climate.disk.usual)
			select {
			case <-w.registry.failed:
				w.registry.kill()
				w.registry.start("after the last kill")
			default: // a restart must not hide what has gone wrong so far
			}
			return
		}
		t.Stop()
	}
}

// restart kills the registry and starts it again after a while.
func (w *world) restart(r *rand.Rand) {
	w.registry.kill()
	w.pause(r, 8*time.Second)
	w.registry.start("after a kill")
}

// pause sleeps for up to most.
func (w *world) pause(r *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(r.Float64() * float64(most)))
}

func (w *world) makeTrouble(r *rand.Rand) {
	switch w.climate.kinds[r.IntN(len(w.climate.kinds))] {
	case killed:
		w.restart(r)
	case stopped:
		w.registry.stop()
		w.pause(r, time.Second)
		w.registry.start("after a stop")
	case partition:
		var away []netip.Addr
		for _, a := range w.actors {
			if r.IntN(2) == 0 {
				away = append(away, a.host)
			}
		}
		w.net.Partition(away)
		w.pause(r, 10*time.Second)
		w.net.Heal()
	case clockSet: // usually by little
		by := time.Duration((r.Float64() - 0.5) * float64(10*time.Second))
		switch r.IntN(4) {
		case 0:
			by *= 60
		case 1:
			by *= 3600
		}
		w.registry.clock.Add(int64(by))
	case diskFull:
		w.registry.full.Store(true)
		w.pause(r, 5*time.Second)
		w.registry.full.Store(false)
	}
}

// haunt sends the registry what strangers send, until stop is closed: copies of
// earlier datagrams, from their original address or another one, signed
// requests with a flipped bit, and garbage.
func (w *world) haunt(r *rand.Rand, stop <-chan struct{}) {
	registry := w.registry.address
	stranger := netip.AddrPortFrom(strangerHost, 5000)
	forger := netip.AddrPortFrom(forgerHost, 6000)
	for {
		t := time.NewTimer(time.Duration(r.ExpFloat64() * float64(w.climate.replays)))
		select {
		case <-stop:
			t.Stop()
			return
		case <-t.C:
		}
		what, which, where := r.IntN(10), r.Float64(), r.Uint64()
		if what < 4 { // mostly recent ones
			which = 1 - which*which*which
		}
		s := w.tap.recorded(min(which, 0.999999))
		if s == nil {
			continue
		}
		tags, _, _ := wire.ParseTags(s.line)
		switch {
		case what == 7:
			rubbish := make([]byte, where%100)
			for i := range rubbish {
				rubbish[i] = byte(r.Uint32())
			}
			w.net.Inject(forger, registry, rubbish)
		case what == 8 && tags.Sig == nil && s.verb == wire.Register:
			w.net.Inject(forger, registry, renewal(s.line, "5"))
		case what == 9 && tags.Sig == nil && s.verb == wire.Renew:
			w.net.Inject(forger, registry, s.line)
		case what == 6 && tags.Sig != nil:
			w.net.Inject(forger, registry, forge(s.line, where))
		case what >= 4 && tags.Sig != nil && (s.verb == wire.Register || s.verb == wire.Renew): // for others the source address may matter
			w.net.Inject(stranger, registry, s.line)
		default:
			w.net.Inject(s.from, registry, s.line)
		}
	}
}

// renewal returns a RENEW of what an unsigned REGISTER registers, with another
// ttl and another id.
func renewal(register []byte, ttl string) []byte {
	_, plain, _ := bytes.Cut(register, []byte(" REGISTER "))
	line := append(otherID(register), ";ttl="+ttl+" RENEW "...)
	return append(line, plain...)
}

// otherID returns the beginning of a request with the last digit of its id
// changed.
func otherID(line []byte) []byte {
	const idEnd = len("@id=") + 36
	start := bytes.Clone(line[:idEnd])
	digit := &start[idEnd-1]
	if *digit == '0' {
		*digit = '1'
	} else {
		*digit = '0'
	}
	return start
}

// forge returns a signed request with another id and a flipped bit, which may
// be one of the id. With the same id it could arrive first and keep the real
// one from being carried out; nothing is promised against somebody who can read
// what clients send.
func forge(line []byte, chance uint64) []byte {
	forged := bytes.Clone(line)
	copy(forged, otherID(line))
	forged[chance%uint64(len(forged))] ^= 1 << (chance >> 32 % 8)
	if bytes.Equal(forged, line) { // the flipped bit of the id has restored the original
		copy(forged, otherID(line))
		forged[len(forged)-1] ^= 1
	}
	return forged
}

var (
	registryHost = netip.MustParseAddr("192.0.2.1")
	strangerHost = netip.MustParseAddr("192.0.2.2")
	forgerHost   = netip.MustParseAddr("192.0.2.3")
)

// actorHost returns a separate address for each actor.
func actorHost(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}) }
