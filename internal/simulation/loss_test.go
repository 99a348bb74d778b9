package simulation

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer/internal/testenv"
	"foyer/internal/udptest"
	"foyer/storage/storetest"
	"foyer/wire"
)

// With a fifth of everything lost each way, a tenth duplicated and some of it
// reordered, 999 requests in a thousand are answered within their 5 seconds,
// and none takes effect twice.
func TestTenThousandRequestsOnABadNetwork(t *testing.T) {
	const requests, actors = 10_000, 20
	w := &world{plan: plan{
		seed: testenv.Seed(t), districts: actors, actors: 1, medium: newMemory(storetest.Sabotage{}),
		climate: func(c *climate) {
			c.net = udptest.Faults{
				Loss: 0.2, Duplicate: 0.1, Reorder: 0.1,
				MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Hold: 50 * time.Millisecond,
			}
			c.disk = diskFaults{usual: 2 * time.Millisecond}
		},
	}}
	synctest.Test(t, func(t *testing.T) {
		w.build(t)
		var acting sync.WaitGroup
		for _, a := range w.actors {
			acting.Go(func() { a.comeAndGo(requests / actors) })
		}
		acting.Wait()
		w.end()
	})
	w.check()
	if wrong := w.verdict(); wrong != "" || w.undecided > 0 {
		t.Error(wrong)
	}
	answered := 0
	var slowest time.Duration
	for _, op := range w.history.operations {
		if !op.answer.unknown {
			answered++
			slowest = max(slowest, op.returned-op.called)
		}
	}
	sent := len(w.history.operations)
	t.Logf("%d of %d requests were answered, the slowest after %v; %d outcomes, each once", answered, sent, slowest, len(w.journal.outcomes))
	if sent != requests || answered < requests*999/1000 {
		t.Errorf("%d of %d requests were answered", answered, sent)
	}
}

// comeAndGo makes n requests of all kinds, none of which conflicts with others.
func (a *actor) comeAndGo(n int) {
	const ttl = time.Hour
	for i := range n {
		op := &operation{district: a.district.number, actor: a.number, from: a.number, address: none}
		switch i % 5 {
		case 0:
			op.verb, op.address, op.ttl = wire.Register, 0, ttl
		case 1:
			op.verb, op.owner = wire.Lookup, none
		case 2:
			op.verb, op.address = wire.Renew, 0
		case 3: // moves
			op.verb, op.address, op.ttl = wire.Register, 1, ttl
		case 4:
			op.verb = wire.Deregister
		}
		a.perform(op)
	}
}
