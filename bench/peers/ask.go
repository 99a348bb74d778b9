//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"foyer/internal/load"
	"foyer/internal/workbench"
)

// The load tools of others (redis-benchmark, dnsperf) need more of a core for 256
// sockets than what they measure, and send and receive in another way than
// `registry bench` does. So this program asks redis and the name servers itself,
// in a process of its own on the load's core, through the sockets of `registry
// bench` and about the same rooms.

// askMode is the first argument that makes this program the load.
const askMode = "ask"

// asking runs this program as the load of a peer.
func asking(protocol string, of shape, lines int) runner {
	return func(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		var result workbench.Result
		return &result, workbench.RunLoad(exec.CommandContext(ctx, self, askMode, "-protocol", protocol, "-server", p.addr(),
			"-clients", fmt.Sprint(of.clients), "-window", fmt.Sprint(of.window), "-lines", fmt.Sprint(lines),
			"-names", fmt.Sprint(r.count), "-duration", s.duration()), &result)
	}
}

// A load on a peer has clients, each with a socket and requests in flight.
type asker struct {
	shape
	lines   int    // requests that are sent at a time
	names   uint64 // rooms that the peer has
	next    uint64 // the next one to register
	sockets *load.Sockets
	latency *hdrhistogram.Histogram // microseconds
	lost    int
}

// A protocol is how a peer is asked. An error of take is an answer that should
// not be.
type protocol interface {
	send(client int, now time.Time)                      // what the client has room for in flight
	take(client int, data [][]byte, now time.Time) error // its answers
}

// askMain is the load's own main function.
func askMain(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet(askMode, flag.ContinueOnError)
	kind := flags.String("protocol", "dns", "dns, redis-get or redis-set")
	server := flags.String("server", "127.0.0.1:53", "who is asked")
	var a asker
	flags.Uint64Var(&a.names, "names", 1, "how many rooms it knows")
	flags.IntVar(&a.clients, "clients", 16, "sockets")
	flags.IntVar(&a.window, "window", 16, "requests in flight on each: with dns at most 16, with redis -lines of them")
	flags.IntVar(&a.lines, "lines", 1, "requests to redis that are sent at a time")
	duration := flags.Duration("duration", 2*time.Second, "how long to ask")
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := netip.ParseAddrPort(*server)
	if err != nil {
		return err
	}
	a.next = a.names + rand.Uint64N(1<<36)
	a.latency = hdrhistogram.New(1, int64(10*time.Second/time.Microsecond), 3)
	var p protocol
	network := "tcp"
	switch *kind {
	case "dns":
		p, network = newDNS(&a), "udp"
	case "redis-get":
		p = newRedis(&a, false)
	case "redis-set":
		p = newRedis(&a, true)
	default:
		return fmt.Errorf("no such protocol: %q", *kind)
	}
	if a.sockets, err = load.Dial(network, address, a.clients, a.window); err != nil {
		return err
	}
	defer a.sockets.Close()
	start := time.Now()
	if err := a.loop(p, start.Add(*duration)); err != nil {
		return err
	}
	n := a.latency.TotalCount()
	return json.NewEncoder(stdout).Encode(map[string]any{
		"requests":            n,
		"requests_per_second": float64(n) / time.Since(start).Seconds(),
		"lost":                a.lost,
		"latency_us": map[string]int64{
			"p50": a.latency.ValueAtQuantile(50),
			"p99": a.latency.ValueAtQuantile(99),
		},
	})
}

func (a *asker) loop(p protocol, deadline time.Time) (err error) {
	take := func(client int, data [][]byte) {
		now := time.Now()
		err = errors.Join(err, p.take(client, data, now))
		p.send(client, now)
	}
	var swept time.Time
	for err == nil {
		now := time.Now()
		if now.After(deadline) {
			return nil
		}
		if now.Sub(swept) > lossTimeout/4 { // at the beginning, and if something was lost
			swept = now
			for client := range a.clients {
				p.send(client, now)
			}
		}
		if failed := a.sockets.Receive(lossTimeout/4, take); failed != nil {
			return failed
		}
	}
	return err
}

// lossTimeout is when a question that is not answered is given up.
const lossTimeout = time.Second

// answered counts requests that were sent at the same time.
func (a *asker) answered(requests int, took time.Duration) {
	_ = a.latency.RecordValues(max(1, took.Microseconds()), int64(requests))
}
