//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"foyer/internal/workbench"
)

// redis-benchmark puts twelve digits in the place of digits, so that the names
// in redis are numbers; they are as long as those of the other systems.
const (
	redisName = "room-0000%012d"
	digits    = "__rand_int__"
	redisOld  = "room-0000" + digits
	redisNew  = "room-ffff" + digits
)

func redis() peer {
	return peer{
		name:    "redis",
		program: "redis-server",
		version: []string{"--version"},
		start:   startRedis,
		works: []work{
			{table: lookups256, name: "redis, GET", run: redisBenchmark(1, "GET", redisOld)},
			{table: batches, name: "redis, GET, -P 16", run: redisBenchmark(16, "GET", redisOld)},
			{table: durable256, name: "redis, SET NX", run: redisBenchmark(1, "SET", redisNew, roomAddress(0), "NX")},
		},
	}
}

func startRedis(ctx context.Context, s *stage, r *rooms) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "redis")
	if err := os.RemoveAll(data); err != nil {
		return nil, err
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	// The file is not rewritten while it is measured.
	p, err := s.start(port, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", data, "--save", "",
		"--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, func(ctx context.Context) error { return askRedis(ctx, p, [][]string{{"PING"}}, "+PONG") }); err != nil {
		return p, err
	}
	for n := uint64(0); n < r.count; {
		var sets [][]string
		for ; len(sets) < 1000 && n < r.count; n++ {
			sets = append(sets, []string{"SET", fmt.Sprintf(redisName, n), roomAddress(n), "NX"})
		}
		if err := askRedis(ctx, p, sets, "+OK"); err != nil {
			return p, err
		}
	}
	if err := askRedis(ctx, p, [][]string{{"DBSIZE"}}, fmt.Sprintf(":%d", r.count)); err != nil {
		return p, err
	}
	return p, askRedis(ctx, p, [][]string{{"CONFIG", "SET", "appendfsync", "always"}}, "+OK")
}

// askRedis sends commands in one go and compares each reply's line with want.
func askRedis(ctx context.Context, p *process, commands [][]string, want string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var request strings.Builder
	for _, words := range commands {
		fmt.Fprintf(&request, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if _, err := io.WriteString(c, request.String()); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	for range commands {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(line); got != want {
			return fmt.Errorf("redis said %q", got)
		}
	}
	return nil
}

// redisBenchmark is redis's own load tool with 256 clients, each with so many
// commands in flight.
func redisBenchmark(pipeline int, command ...string) runner {
	return func(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
		// It makes a number of requests, not a time full of them: a short run
		// shows how many fill the time.
		key := fmt.Sprint(pipeline, command)
		if p.rates[key] == 0 {
			f, err := redisRun(ctx, p, r, pipeline, 20_000, command)
			if err != nil {
				return nil, err
			}
			p.rates[key] = f.PerSecond
		}
		requests := max(int(p.rates[key]*s.seconds), 1000)
		f, err := redisRun(ctx, p, r, pipeline, requests, command)
		if err == nil {
			p.rates[key] = f.PerSecond
		}
		return f, err
	}
}

func redisRun(ctx context.Context, p *process, r *rooms, pipeline, requests int, command []string) (*workbench.Result, error) {
	keys := r.count
	if command[0] == "SET" {
		keys = 1e12 // new ones; more than its random numbers have room for
	}
	args := append([]string{"-h", "127.0.0.1", "-p", p.port, "-c", "256", "-P", strconv.Itoa(pipeline),
		"-n", strconv.Itoa(requests), "-r", strconv.FormatUint(keys, 10), "--csv"}, command...)
	text, err := runText(exec.CommandContext(ctx, "redis-benchmark", args...))
	if err != nil {
		return nil, err
	}
	// "test","rps","avg_latency_ms","min_…","p50_…","p95_…","p99_…","max_…"
	var last []string
	for in := csv.NewReader(strings.NewReader(text[max(0, strings.Index(text, `"test"`)):])); ; {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("redis-benchmark printed %q: %w", text, err)
		}
		last = record
	}
	if len(last) != 8 {
		return nil, fmt.Errorf("redis-benchmark printed %q", text)
	}
	number := func(i int) float64 {
		v, e := strconv.ParseFloat(last[i], 64)
		err = errors.Join(err, e)
		return v
	}
	result := &workbench.Result{
		PerSecond: number(1), Requests: float64(requests),
		Latency: map[string]float64{"p50": number(4) * 1000, "p99": number(6) * 1000},
	}
	return result, err
}
