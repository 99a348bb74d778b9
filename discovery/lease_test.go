package discovery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
)

// The wheel against a table that looks at every lease.
func TestLeasesAgainstModel(t *testing.T) {
	s := testenv.Seed(t)
	r := rand.New(rand.NewPCG(s, 0))
	type entry struct {
		end, ttl time.Duration
		out      bool // taken to expire
	}
	now := time.Duration(r.Int64N(int64(time.Hour)))
	table, model := newLeases(now), map[foyer.Name]*entry{}
	floor := now
	const slack = tick + 2*time.Second
	for step := range 200_000 {
		name := foyer.Name(strconv.Itoa(r.IntN(500)))
		switch e := model[name]; r.IntN(12) {
		case 0, 1:
			ttl := MinTTL + time.Duration(r.Int64N(int64(MaxTTL)))>>r.IntN(16)/time.Second*time.Second
			ttl = min(max(ttl.Truncate(time.Second), MinTTL), MaxTTL)
			table.put(&foyer.Registration{Name: name, Address: "a", TTL: ttl, LeaseEnd: now + ttl}, 0, 0)
			model[name] = &entry{end: now + ttl, ttl: ttl}
		case 2:
			table.drop(name)
			delete(model, name)
		case 3:
			if got := table.renew([]byte(name), "b", now, 0); got != notLeased {
				t.Fatalf("step %d: renewed at another address: %v", step, got)
			}
		case 4, 5, 6, 7:
			got := table.renew([]byte(name), "a", now, 0)
			switch {
			case e == nil:
				if got != notLeased {
					t.Fatalf("step %d: %v without a lease", step, got)
				}
			case e.out:
				if got != expiring {
					t.Fatalf("step %d: %v while expiring", step, got)
				}
			case got != renewed && got != renewedLate:
				t.Fatalf("step %d: %v", step, got)
			default:
				e.end = now + tick + e.ttl
			}
		case 8:
			table.setFloor(now)
			floor = now
		case 9:
			var back []foyer.Name
			for n, e := range model {
				if e.out && r.IntN(2) == 0 {
					back = append(back, n)
					e.out, e.end = false, now
				}
			}
			table.restore(back, now)
		default:
			now += time.Duration(r.Int64N(int64(20 * time.Second)))
			for _, n := range table.expire(nil, now, 1000) {
				e := model[n]
				if e == nil || e.out {
					t.Fatalf("step %d: %s expires without a lease", step, n)
				}
				if e.end > now || floor+min(e.ttl, leaseGrace) > now {
					t.Fatalf("step %d: %s expires %v early", step, n, max(e.end, floor+min(e.ttl, leaseGrace))-now)
				}
				e.out = true
			}
			for n, e := range model {
				if !e.out && now > max(e.end, floor+min(e.ttl, leaseGrace))+slack {
					t.Fatalf("step %d: %s does not expire, %v late", step, n, now-e.end)
				}
			}
		}
		if table.len() != len(model) {
			t.Fatalf("step %d: %d leases, want %d", step, table.len(), len(model))
		}
		if r.IntN(100) == 0 {
			expectUnder(t, table, now)
		}
	}
}

// expectUnder compares the leases by time left with a walk over all.
func expectUnder(t *testing.T, table *leases, now time.Duration) {
	t.Helper()
	var want [len(leaseBounds)]int
	for _, l := range table.byName {
		for i, bound := range leaseBounds {
			if l.slot == out || second(l.end) < second(now+bound) || i == len(leaseBounds)-1 {
				want[i]++
			}
		}
	}
	if got := table.under(now); got != want {
		t.Fatalf("at %v there are leases with %v left: %v, want %v", now, leaseBounds, got, want)
	}
}

// What a tick looks at is what has expired, whatever the number of leases. The
// work is counted, not timed: leases that do not expire are not touched.
func TestExpiryTouchesOnlyTheExpired(t *testing.T) {
	table := newLeases(0)
	const n = 100_000
	for i := range n {
		table.put(&foyer.Registration{Name: foyer.Name(strconv.Itoa(i)), Address: "a", TTL: time.Hour, LeaseEnd: time.Hour}, 0, 0)
	}
	for i := range 10 {
		table.put(&foyer.Registration{Name: foyer.Name(fmt.Sprintf("short %d", i)), Address: "a", TTL: MinTTL, LeaseEnd: MinTTL}, 0, 0)
	}
	visited := 0
	for s := table.done + 1; s < second(time.Minute); s++ {
		for l := table.wheel[s%wheelSlots]; l != nil; l = l.next {
			visited++
		}
	}
	names := table.expire(nil, time.Minute, n)
	slices.Sort(names)
	if len(names) != 10 || visited != 10 || names[0] != "short 0" {
		t.Errorf("%d leases expired, %d visited, want 10", len(names), visited)
	}
}

func TestRenewAllocations(t *testing.T) {
	table := newLeases(0)
	name := []byte("Great Hall")
	table.put(&foyer.Registration{Name: "Great Hall", Address: "a", TTL: time.Hour, LeaseEnd: time.Hour}, 0, 0)
	if n := testing.AllocsPerRun(100, func() { table.renew(name, "a", time.Second, 0) }); n != 0 {
		t.Errorf("a renewal allocates %v times", n)
	}
}

func BenchmarkRenew(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			table := newLeases(0)
			names := make([][]byte, n)
			for i := range names {
				names[i] = []byte("room " + strconv.Itoa(i*7919))
				table.put(&foyer.Registration{Name: foyer.Name(names[i]), Address: "a", TTL: 30 * time.Second, LeaseEnd: 30 * time.Second}, 0, 0)
			}
			rand.Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				table.renew(names[i%n], "a", time.Duration(i)*time.Microsecond, 0)
				i++
			}
		})
	}
}
