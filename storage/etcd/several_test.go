package etcd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/internal/etcdtest"
	"foyer/internal/testenv"
	"foyer/storage"
)

func openStore(t testing.TB, a *Address) *Store {
	t.Helper()
	s, err := Open(a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// claim has a store register a name at an address, unless somebody has it, under an id: as
// often as it takes to know what became of it. It returns the address that has the name,
// and how often that was in doubt.
func claim(s *Store, name foyer.Name, addr foyer.Address) (winner foyer.Address, doubts int, err error) {
	sum := sha256.Sum256([]byte(name + "\n" + foyer.Name(addr)))
	id := foyer.ID(sum[:16])
	for range 100_000 {
		now := s.Last()
		now.Wall, now.Lease = now.Wall.Add(time.Millisecond), now.Lease+time.Millisecond
		err = s.Update(now, func(tx storage.Tx) error {
			if o, ok, err := tx.Outcome(id); ok || err != nil {
				winner = foyer.Address(o.Reply)
				return err
			}
			reg, err := tx.Get(name)
			if winner = addr; err == nil {
				winner = reg.Address
			} else if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: tx.Now().Wall, Registration: foyer.Registration{Name: name, Address: addr}}); err != nil {
				return err
			}
			return tx.Record(storage.Outcome{ID: id, Reply: []byte(winner)})
		})
		switch {
		case errors.Is(err, storage.ErrUncertain):
			doubts++
		case !errors.Is(err, foyer.ErrUnavailable):
			return winner, doubts, err
		}
	}
	return "", doubts, err
}

// same returns an error if two stores, which nobody changes, do not hold the same.
func same(a, b *Store) error {
	if err := errors.Join(a.Update(a.Last(), nothing), b.Update(b.Last(), nothing), a.Update(a.Last(), nothing)); err != nil {
		return err
	}
	as, err := a.List("", a.Len()+1)
	bs, err2 := b.List("", b.Len()+1)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if !slices.Equal(as, bs) {
		return fmt.Errorf("one has %d registrations, another %d, or they differ", len(as), len(bs))
	}
	for _, r := range as {
		ha, err := a.History(r.Name)
		hb, err2 := b.History(r.Name)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if !slices.Equal(ha, hb) || len(ha) != 1 {
			return fmt.Errorf("the history of %q: %v and %v", r.Name, ha, hb)
		}
	}
	return nil
}

func nothing(storage.Tx) error { return nil }

// TestKilledMembers has three stores claim the same names, and names of their own, while one
// member after the other is killed. Everybody is told the same winner, whoever was told of a
// success has succeeded once, and all stores end with the same state.
func TestKilledMembers(t *testing.T) {
	const each = 40
	most := 6
	if s := os.Getenv("FOYER_KILLS"); s != "" { // make soak
		var err error
		if most, err = strconv.Atoi(s); err != nil {
			t.Fatalf("FOYER_KILLS: %v", err)
		}
	}
	c := etcdtest.Start(t, 3)
	a, err := ParseAddress("etcd://" + c.Endpoints() + "/killed")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(testenv.Seed(t), 5))
	var stores [3]*Store
	for i := range stores {
		stores[i] = openStore(t, a)
	}
	var winners [len(stores)][each]foyer.Address
	var doubts, claimed atomic.Int64
	var claims sync.WaitGroup
	done := make(chan struct{})
	kills := 0
	for i, s := range stores {
		claims.Go(func() {
			for n := 0; n < each || claimed.Load() >= 0 && n < 1_000_000; n++ { // at least until the kills are over
				own := foyer.Name(fmt.Sprintf("of %d: %d", i, n))
				_, d, err := claim(s, own, foyer.Address(fmt.Sprintf("room://own:%d-%d", i, n)))
				if err != nil {
					t.Errorf("store %d, %q: %v", i, own, err)
					return
				}
				if doubts.Add(int64(d)); n >= each {
					continue
				}
				winner, d, err := claim(s, foyer.Name(fmt.Sprintf("common %d", n)), foyer.Address(fmt.Sprintf("room://common:%d-%d", i, n)))
				if err != nil {
					t.Errorf("store %d, common %d: %v", i, n, err)
					return
				}
				doubts.Add(int64(d))
				winners[i][n] = winner
			}
		})
	}
	for kills < most {
		i := r.IntN(3)
		c.Kill(i)
		if r.IntN(2) == 0 { // there is no quorum for a while
			c.Kill((i + 1) % 3)
			c.Restart((i + 1) % 3)
			kills++
		}
		c.Restart(i)
		kills++
		c.WaitHealthy()
	}
	claimed.Store(-1)
	go func() { claims.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the claims come to no end")
	}
	for i := range stores {
		if winners[i] != winners[0] {
			t.Errorf("store %d was told other winners than store 0", i)
		}
	}
	fresh := openStore(t, a)
	for _, s := range stores {
		if err := same(s, fresh); err != nil {
			t.Error(err)
		}
	}
	for n, winner := range winners[0] {
		if reg, err := fresh.Find(fmt.Appendf(nil, "common %d", n)); err != nil || reg.Address != winner {
			t.Errorf("common %d: %+v, %v, and everybody was told %s", n, reg, err, winner)
		}
	}
	t.Logf("%d kills, %d names, %d doubts", kills, fresh.Len(), doubts.Load())
}
