package etcd

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer"
	"foyer/internal/etcdtest"
	"foyer/storage"
)

// inFlight is how many registrations wait at each registry, and so how large its groups are.
const inFlight = 256

// measureFor is how long a row is measured.
const measureFor = 3 * time.Second

// BenchmarkRegistrations measures durable registrations on three members: plain clients of
// etcd, each with one transaction of two keys in flight, then one store, three that compete,
// and three of which one is 5 ms away. Other rows are given as ratios to the first.
func BenchmarkRegistrations(b *testing.B) {
	c := etcdtest.Start(b, 3)
	parse := func(endpoints, prefix string) *Address {
		a, err := ParseAddress("etcd://" + endpoints + "/" + prefix)
		if err != nil {
			b.Fatal(err)
		}
		return a
	}
	floor := plainTransactions(b, parse(c.Endpoints(), "plain"))
	b.Logf("%-44s %8.0f/s", "plain transactions of two keys, 256 clients", floor)
	var far []string
	for e := range strings.SplitSeq(c.Endpoints(), ",") {
		far = append(far, delayed(b, e, 2500*time.Microsecond))
	}
	for _, row := range []struct {
		name      string
		addresses []string
	}{
		{"one registry", []string{c.Endpoints()}},
		{"three registries", []string{c.Endpoints(), c.Endpoints(), c.Endpoints()}},
		{"three registries, the last 5 ms away", []string{c.Endpoints(), c.Endpoints(), strings.Join(far, ",")}},
	} {
		var stores []*Store
		for _, endpoints := range row.addresses {
			s, err := Open(parse(endpoints, row.name), Options{})
			if err != nil {
				b.Fatal(err)
			}
			stores = append(stores, s)
		}
		rates, waits := registrations(b, stores)
		sum := 0.0
		for _, r := range rates {
			sum += r
		}
		var line strings.Builder
		fmt.Fprintf(&line, "%-44s %8.0f/s, %5.1f times that;", row.name, sum, sum/floor)
		for i := range rates {
			fmt.Fprintf(&line, " %.0f%% at %.1f ms a group", 100*rates[i]/sum, waits[i].Seconds()*1000)
		}
		b.Log(line.String())
		for _, s := range stores {
			s.Close()
		}
	}
}

func plainTransactions(b *testing.B, a *Address) float64 {
	var clients [4]*clientv3.Client // a connection takes some 100 streams
	for i := range clients {
		var err error
		if clients[i], err = a.connect(); err != nil {
			b.Fatal(err)
		}
		defer clients[i].Close()
	}
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := range inFlight {
		all.Go(func() {
			for n := 0; time.Since(began) < measureFor; n++ {
				name, addr := fmt.Sprintf("%sname/%d-%d", a.Prefix, i, n), fmt.Sprintf("%saddress/%d-%d", a.Prefix, i, n)
				ctx, cancel := context.WithTimeout(context.Background(), 10*requestTime)
				_, err := clients[i%len(clients)].Txn(ctx).If(
					clientv3.Compare(clientv3.CreateRevision(name), "=", 0), clientv3.Compare(clientv3.CreateRevision(addr), "=", 0),
				).Then(clientv3.OpPut(name, addr), clientv3.OpPut(addr, name)).Commit()
				if cancel(); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// registrations returns how many registrations a second each store carries out, and how long
// a group takes.
func registrations(b *testing.B, stores []*Store) (rates []float64, waits []time.Duration) {
	rates, waits = make([]float64, len(stores)), make([]time.Duration, len(stores))
	var all sync.WaitGroup
	began := time.Now()
	for i, s := range stores {
		all.Go(func() {
			groups := 0
			for ; time.Since(began) < measureFor; groups++ {
				now := storage.Instant{Wall: time.Now(), Lease: time.Since(began)}
				if err := s.Update(now, func(tx storage.Tx) error {
					for n := range inFlight {
						name := fmt.Sprintf("room %d of %d, %d", groups, i, n)
						if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: foyer.Registration{
							Name: foyer.Name(name), Address: foyer.Address("room://" + name), RegisteredAt: now.Wall,
						}}); err != nil {
							return err
						}
						o := storage.Outcome{Reply: []byte("OK 0190a8f0-0000-7000-8000-000000000000 ttl=30")}
						copy(o.ID[:], fmt.Sprintf("%4d%7d%5d", i, groups, n))
						if err := tx.Record(o); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Errorf("store %d: %v", i, err)
					return
				}
			}
			rates[i] = float64(groups*inFlight) / time.Since(began).Seconds()
			waits[i] = time.Since(began) / time.Duration(max(1, groups))
		})
	}
	all.Wait()
	return rates, waits
}

// delayed returns an address at which an endpoint can be reached with a delay each way.
func delayed(b *testing.B, endpoint string, delay time.Duration) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", endpoint)
			if err != nil {
				near.Close()
				continue
			}
			go late(near, far, delay)
			go late(far, near, delay)
		}
	}()
	return l.Addr().String()
}

// late copies from one connection to another what was read some time ago.
func late(to, from net.Conn, delay time.Duration) {
	defer to.Close()
	type piece struct {
		due time.Time
		b   []byte
	}
	pieces := make(chan piece, 1<<12)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if n > 0 {
				pieces <- piece{time.Now().Add(delay), b[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		<-time.After(time.Until(p.due))
		if _, err := to.Write(p.b); err != nil {
			_, _ = io.Copy(io.Discard, from)
		}
	}
}
