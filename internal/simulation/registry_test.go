package simulation

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"foyer/discovery"
	"foyer/internal/udptest"
)

// A registry is the machine that the service runs on: it goes through many
// processes. Its methods, but for powerOff, are called from one goroutine.
type registry struct {
	// Set once.
	world   *world
	address netip.AddrPort
	medium  medium
	rand    *rand.Rand    // of the disk
	wakes   *rand.Rand    // of when the reader wakes; its goroutine's
	failed  chan struct{} // gets an element when the power has failed

	clock atomic.Int64 // by how much the system's clock is ahead, in nanoseconds
	full  atomic.Bool  // the disk is

	faults  atomic.Pointer[diskFaults]
	process *process // nil while none runs
	kills   int
	stops   int
}

// A process is one run of the service.
type process struct {
	conn   *udptest.Conn
	disk   *disk
	cancel context.CancelFunc
	ended  chan error
}

// start runs the service on what the disk holds, once that has been audited.
func (r *registry) start(occasion string) {
	w := r.world
	store, err := r.medium.open()
	if err != nil {
		w.problems.add("%s: %v", occasion, err)
		return
	}
	w.journal.audit(store, occasion)
	conn, err := w.net.Listen(r.address)
	if err != nil {
		w.problems.add("%s: %v", occasion, err)
		return
	}
	p := &process{conn: conn, ended: make(chan error, 1), disk: &disk{
		Store: store, medium: r.medium, time: &w.time, journal: w.journal,
		full: r.full.Load, rand: r.rand, faults: r.faults.Load,
	}}
	p.disk.init()
	p.disk.powerOff = func() {
		p.conn.Close()
		p.disk.kill()
		w.time.down()
		r.failed <- struct{}{}
	}
	server := discovery.New(p.disk, discovery.Options{
		SystemClock: r.systemClock,
		AnyAddress:  true, // clients on several hosts contend for the same addresses
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- server.Serve(ctx, newSocket(conn, w.tap, r.late)) }()
	w.time.up()
	r.process = p
}

func (r *registry) systemClock() time.Time { return time.Now().Add(time.Duration(r.clock.Load())) }

// late says how long the reader takes to wake when something arrives: often so
// long that the writer takes it in.
func (r *registry) late() time.Duration {
	return time.Duration(max(0, r.wakes.Float64()*2-1) * float64(r.faults.Load().usual))
}

// kill ends the process as kill -9 does: no reply leaves it any more, and
// nothing is written. It may have ended by itself, for want of power.
func (r *registry) kill() {
	p := r.process
	if p == nil {
		return
	}
	r.kills++
	p.conn.Close() // first, so that what the dying process says is not heard
	p.disk.kill()
	r.world.time.down()
	<-p.ended
	p.cancel()
	r.gone()
}

// stop ends the process as SIGTERM does.
func (r *registry) stop() {
	p := r.process
	if p == nil {
		return
	}
	r.stops++
	p.cancel()
	err := <-p.ended
	r.world.time.down()
	select {
	case <-p.disk.killed: // the power failed meanwhile
	default:
		if err != nil {
			r.world.problems.add("Serve: %v", err)
		}
	}
	p.conn.Close()
	r.gone()
}

// gone forgets the process, and that its power failed.
func (r *registry) gone() {
	r.process = nil
	select {
	case <-r.failed:
	default:
	}
}
