package simulation

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/storage"
	"foyer/wire"
)

// A plan says what world to make.
type plan struct {
	seed       uint64
	districts  int
	actors     int // in each district
	operations int // of each actor
	medium     medium

	// climate, if not nil, changes the climate that the seed makes.
	climate func(*climate)
}

// A world is one run of the simulation. Everything in it happens in one bubble
// of testing/synctest.
type world struct {
	plan
	climate  climate
	time     timeline
	net      *udptest.Network
	tap      *tap
	journal  *journal
	registry *registry
	actors   []*actor
	history  history
	problems problems

	// Made by check.
	illegal   []explanation
	asked     int // districts for which the journal had to be asked
	undecided int // districts for which that did not help
}

// stream returns a source of randomness that depends only on the seed and the
// name, so that what one part of the world draws does not affect others.
func (p *plan) stream(name string, number int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, name, number)
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

// simulate makes a world, lets it run, and checks it.
func simulate(t *testing.T, p plan) *world {
	w := &world{plan: p}
	synctest.Test(t, func(t *testing.T) { w.run(t) })
	w.check()
	return w
}

// build makes everything except the troubles, and starts the registry.
func (w *world) build(t *testing.T) {
	w.time.origin = time.Now()
	w.climate = climateOf(w.stream("climate", 0))
	if w.plan.climate != nil {
		w.plan.climate(&w.climate)
	}
	w.net = udptest.New(w.seed)
	w.net.SetFaults(w.climate.net)
	w.journal = &journal{
		rooms: map[foyer.Name]foyer.Registration{}, outcomes: map[foyer.ID]outcome{},
		problems: &w.problems, time: &w.time,
	}
	w.registry = &registry{
		world: w, address: netip.AddrPortFrom(registryHost, 7666), medium: w.medium,
		rand: w.stream("disk", 0), wakes: w.stream("reader", 0), failed: make(chan struct{}, 1),
	}
	w.registry.faults.Store(&w.climate.disk)
	w.tap = newTap(&w.time, w.registry.address, &w.problems, w.journal)
	w.journal.verb = w.tap.verb
	w.tap.distrust(forgerHost)
	w.net.SetFilter(w.tap.pass)
	w.populate(t)
	w.registry.start("at the beginning")
}

// run lets a world live and end.
func (w *world) run(t *testing.T) {
	w.build(t)
	var acting, troubling sync.WaitGroup
	stop := make(chan struct{})
	troubling.Go(func() { w.supervise(w.stream("trouble", 0), stop) })
	troubling.Go(func() { w.haunt(w.stream("haunting", 0), stop) })
	for _, a := range w.actors {
		acting.Go(func() { a.run(w.operations) })
	}
	acting.Wait()
	close(stop)
	troubling.Wait()
	w.settle()
	w.end()
}

// populate makes the districts and the actors.
func (w *world) populate(t *testing.T) {
	r := w.stream("population", 0)
	for i := range w.districts {
		var ttls [ttlsPerDistrict]time.Duration
		for i := range ttls {
			ttls[i] = w.climate.ttls[r.IntN(len(w.climate.ttls))]
		}
		d := newDistrict(i, ttls)
		w.journal.addresses = append(w.journal.addresses, d.addresses[:]...)
		for range w.plan.actors {
			n := len(w.actors)
			a := &actor{
				world: w, district: d, number: n, host: actorHost(n), rand: w.stream("actor", n), pause: w.climate.pause,
				owner: n%(keysPerDistrict+1) + none,
			}
			var seed [32]byte
			binary.BigEndian.PutUint64(seed[:], w.seed)
			binary.BigEndian.PutUint64(seed[8:], uint64(n))
			o := client.Options{Registries: []string{w.registry.address.String()}}
			seam.Client(&o, seam.Seam{
				Listen: func() (udp.PacketConn, error) { return w.net.Listen(netip.AddrPortFrom(a.host, 0)) },
				Rand:   rand.NewChaCha8(seed),
			})
			var err error
			if a.client, err = client.New(o); err != nil {
				t.Fatal(err)
			}
			w.actors = append(w.actors, a)
		}
	}
}

// settle lets every lease expire and every outcome be forgotten, replays
// everything ever sent, and looks every name up.
func (w *world) settle() {
	time.Sleep(max(storage.OutcomeRetention, slices.Max(w.climate.ttls)+storage.OutcomeRetention/2) + time.Minute)
	synctest.Wait() // the writer owns the journal
	changes := w.journal.changes
	for _, s := range w.tap.seen {
		w.net.Inject(s.from, w.registry.address, s.line)
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	if w.journal.changes != changes {
		w.problems.add("what was sent long ago made %d changes", w.journal.changes-changes)
	}
	for _, a := range w.actors {
		for name := range namesPerDistrict {
			op := &operation{district: a.district.number, actor: a.number, verb: wire.Lookup, name: name, address: none, owner: none}
			a.perform(op)
			if op.answer.unknown {
				w.problems.add("at the end: %v", op)
			}
		}
	}
	synctest.Wait()
	for name, r := range w.journal.rooms {
		if r.TTL > 0 {
			w.problems.add("the lease of %q, %v, never ended", name, r.TTL)
		}
	}
}

// end ends the registry, audits what it leaves, and closes the clients.
func (w *world) end() {
	w.registry.kill()
	if store, err := w.medium.open(); err != nil {
		w.problems.add("at the end: %v", err)
	} else {
		w.journal.audit(store, "at the end")
	}
	w.medium.close()
	for _, a := range w.actors {
		a.client.Close()
	}
}
