package discovery

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// A slowStore takes 10 ms for a transaction, and counts what ends in each.
type slowStore struct {
	storage.Store
	most, all atomic.Int64 // names that ended: in one transaction, in all of them
}

const slowUpdate = 10 * time.Millisecond

func (s *slowStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	time.Sleep(slowUpdate)
	before := s.Len()
	err := s.Store.Update(now, fn)
	ended := int64(before - s.Len())
	s.most.Store(max(s.most.Load(), ended))
	s.all.Add(max(ended, 0))
	return err
}

// fillStore registers n rooms without asking a server.
func fillStore(b *bench, n int, ttl time.Duration) {
	b.t.Helper()
	err := b.store.Update(b.store.Last(), func(tx storage.Tx) error {
		for i := range n {
			r := foyer.Registration{Name: foyer.Name("Room " + strconv.Itoa(i)), Address: foyer.Address("room://10.0.0.1:" + strconv.Itoa(i)), TTL: ttl, LeaseEnd: ttl}
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// Leases that end together are gone as soon as transactions of a bounded size
// can be made, and whoever asks for something meanwhile waits for one or two
// of them, not for all.
func TestManyLeasesEndTogether(t *testing.T) {
	run(t, func(b *bench) {
		const n = 20_000
		b.stop()
		fillStore(b, n, MinTTL)
		slow := &slowStore{Store: b.store}
		b.serveOn(slow)
		var begun time.Time
		var worst time.Duration
		for i := range 2000 {
			reply, took := b.await("192.0.2.10", fmt.Sprintf("@ttl=3600 REGISTER room://192.0.2.10:%d Other %d", i+1, i))
			if codeOf(t, reply) != "OK" {
				t.Fatalf("got %q", reply)
			}
			if slow.all.Load() == 0 {
				continue
			}
			if begun.IsZero() {
				begun = time.Now()
			}
			worst = max(worst, took)
			if slow.all.Load() == n {
				break
			}
		}
		if ended := slow.all.Load(); ended != n {
			t.Fatalf("%d of %d leases have ended", ended, n)
		}
		// Each transaction of theirs with one of requests, twice that for what a tick adds.
		if took, most := time.Since(begun), 4*(n/expiryBatch+1)*slowUpdate; took > most {
			t.Errorf("they ended within %v, more than %v", took, most)
		}
		if most := slow.most.Load(); most > expiryBatch {
			t.Errorf("%d leases ended in one transaction, more than %d", most, expiryBatch)
		}
		if worst == 0 || worst > 5*slowUpdate {
			t.Errorf("a registration took %v meanwhile", worst)
		}
	})
}

// The work that one call of expire does is bounded, also where leases that seem
// to have ended get the grace after a stall, and behind tells of the rest.
func TestExpiryIsBounded(t *testing.T) {
	table := newLeases(0)
	const n, limit = 10_000, 100
	for i := range n {
		table.put(&foyer.Registration{Name: foyer.Name(strconv.Itoa(i)), Address: "a", TTL: MinTTL, LeaseEnd: MinTTL}, 0, 0)
	}
	left := func(slot int64) (n int) {
		for l := table.wheel[slot]; l != nil; l = l.next {
			n++
		}
		return n
	}
	slot, now := second(MinTTL), MinTTL+2*time.Second
	table.setFloor(now)
	for round := range n / limit {
		if names := table.expire(nil, now, limit); len(names) != 0 {
			t.Fatalf("%d leases ended within their grace", len(names))
		}
		if got, want := left(slot), n-limit*(round+1); got != want {
			t.Fatalf("%d leases were left, want %d: more or less than the limit were looked at", got, want)
		}
		if behind := table.behind(now); behind != (round < n/limit-1) {
			t.Fatalf("behind = %v with %d left", behind, left(slot))
		}
	}
	ended := 0
	for now += leaseGrace; table.behind(now); {
		names := table.expire(nil, now, limit)
		if len(names) > limit {
			t.Fatalf("%d leases at once", len(names))
		}
		ended += len(names)
	}
	if ended != n {
		t.Errorf("%d leases ended, want %d", ended, n)
	}
}
