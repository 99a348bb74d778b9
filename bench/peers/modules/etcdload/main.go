// Command etcdload puts load on an etcd and prints what came of it, one JSON
// object of the same shape as `registry bench --format json` prints.
//
//	etcdload -endpoint HOST:PORT -rooms FILE -work fill|get|put
//
// The file has a name and an address to a line, with a tab between them. fill
// puts them all, get reads them in random order (serializable: from the member
// asked, without a round of consensus), put registers new ones, each in a
// transaction that does nothing when the name is there already.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// opsPerFill is as many as etcd takes in one transaction by default.
const opsPerFill = 128

type load struct {
	endpoint, path, work string

	conns, window int // window requests in flight on each of conns connections
	duration      time.Duration

	rooms   [][2]string
	started time.Time
}

func main() {
	var l load
	flag.StringVar(&l.endpoint, "endpoint", "127.0.0.1:2379", "the etcd")
	flag.StringVar(&l.path, "rooms", "", "file of names and addresses")
	flag.StringVar(&l.work, "work", "get", "fill, get or put")
	flag.IntVar(&l.conns, "conns", 16, "connections")
	flag.IntVar(&l.window, "window", 16, "requests in flight on each")
	flag.DurationVar(&l.duration, "duration", 2*time.Second, "how long to get or put")
	flag.Parse()
	if err := l.main(); err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func (l *load) main() error {
	if err := l.read(); err != nil {
		return err
	}
	clients := make([]*clientv3.Client, l.conns)
	for i := range clients {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{l.endpoint}, DialTimeout: 5 * time.Second})
		if err != nil {
			return err
		}
		defer c.Close()
		// The first request makes the connection, which is not to be measured.
		if _, err := c.Get(context.Background(), "room-", clientv3.WithSerializable()); err != nil {
			return err
		}
		clients[i] = c
	}
	l.started = time.Now()
	latencies := make([][]time.Duration, l.conns*l.window)
	errs := make([]error, len(latencies))
	var wg sync.WaitGroup
	for i := range latencies {
		wg.Go(func() { latencies[i], errs[i] = l.loop(clients[i%l.conns], i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.print(slices.Concat(latencies...), time.Since(l.started))
}

// loop is one of the clients: it has one request in flight.
func (l *load) loop(c *clientv3.Client, number int) (latencies []time.Duration, err error) {
	ctx := context.Background()
	for n := 0; ; n++ {
		before := time.Now()
		switch l.work {
		case "fill":
			from := (n*l.conns*l.window + number) * opsPerFill
			if from >= len(l.rooms) {
				return latencies, nil
			}
			err = l.fill(ctx, c, l.rooms[from:min(from+opsPerFill, len(l.rooms))])
		case "get":
			err = l.get(ctx, c, l.rooms[rand.IntN(len(l.rooms))])
		case "put":
			err = l.put(ctx, c)
		default:
			err = fmt.Errorf("no such work: %q", l.work)
		}
		if err != nil {
			return nil, err
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(before))
		if l.work != "fill" && now.Sub(l.started) >= l.duration {
			return latencies, nil
		}
	}
}

func (l *load) fill(ctx context.Context, c *clientv3.Client, rooms [][2]string) error {
	puts := make([]clientv3.Op, len(rooms))
	for i, r := range rooms {
		puts[i] = clientv3.OpPut(r[0], r[1])
	}
	_, err := c.Txn(ctx).Then(puts...).Commit()
	return err
}

func (l *load) get(ctx context.Context, c *clientv3.Client, room [2]string) error {
	r, err := c.Get(ctx, room[0], clientv3.WithSerializable())
	if err == nil && (len(r.Kvs) != 1 || string(r.Kvs[0].Value) != room[1]) {
		err = fmt.Errorf("%s is not at %s", room[0], room[1])
	}
	return err
}

func (l *load) put(ctx context.Context, c *clientv3.Client) error {
	name := fmt.Sprintf("room-%016x", rand.Uint64())
	address := fmt.Sprintf("room://10.%d.%d.%d:%d", 100+rand.IntN(150), 100+rand.IntN(150), 100+rand.IntN(150), 10000+rand.IntN(50000))
	r, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(name), "=", 0)).
		Then(clientv3.OpPut(name, address)).
		Commit()
	if err == nil && !r.Succeeded {
		err = fmt.Errorf("%s is there already", name)
	}
	return err
}

// read reads the file of rooms.
func (l *load) read() error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			return s.Err()
		}
		name, address, ok := strings.Cut(s.Text(), "\t")
		if !ok {
			return fmt.Errorf("%s has a line without a tab: %q", l.path, s.Text())
		}
		l.rooms = append(l.rooms, [2]string{name, address})
	}
}

func (l *load) print(latencies []time.Duration, elapsed time.Duration) error {
	slices.Sort(latencies)
	micros := func(q float64) float64 {
		return float64(latencies[int(q*float64(len(latencies)-1))]) / float64(time.Microsecond)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests":            len(latencies),
		"requests_per_second": float64(len(latencies)) / elapsed.Seconds(),
		"latency_us":          map[string]float64{"p50": micros(0.5), "p99": micros(0.99)},
	})
}
