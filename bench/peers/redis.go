//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func redis() peer {
	return peer{
		name:    "redis",
		program: "redis-server",
		version: []string{"--version"},
		start:   startRedis,
		works: []work{
			{table: lookups256, name: "redis, GET", run: asking("redis-get", many, 1)},
			{table: batches, name: "redis, GET", run: asking("redis-get", many, 16)},
			{table: durable256, name: "redis, SET NX", run: asking("redis-set", many, 1)},
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
			sets = append(sets, []string{"SET", roomName(n), roomAddress(n), "NX"})
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
