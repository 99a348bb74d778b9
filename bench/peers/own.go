//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"foyer/internal/workbench"
)

func registry() peer {
	return peer{
		name:    "registry",
		program: "registry",
		version: []string{"--version"},
		start: func(ctx context.Context, s *stage, r *rooms) (*process, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			return s.startRegistry(ctx, port, port, r)
		},
		works: []work{
			{table: lookups, name: base, run: registryBench(few, "--work", "lookup")},
			{table: lookups256, name: base, run: registryBench(many, "--work", "lookup")},
			{table: batches, name: base, run: registryBench(many, "--work", "lookup", "--lines", "16")},
			{table: durable, name: base, run: registryBench(few, "--work", "register")},
			{table: durable256, name: base, run: registryBench(many, "--work", "register")},
		},
	}
}

// registryDNS is a registry that is asked over DNS.
func registryDNS() peer {
	const name = "registry --dns"
	return peer{
		name:    name,
		program: "registry",
		version: []string{"--version"},
		start: func(ctx context.Context, s *stage, r *rooms) (*process, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			own, err := freePort()
			if err != nil {
				return nil, err
			}
			p, err := s.startRegistry(ctx, port, own, r, "--dns", "127.0.0.1:"+port, "--domain", domain)
			if err != nil {
				return p, err
			}
			return p, p.ready(ctx, func(ctx context.Context) error { return checkDNS(ctx, p, r.count-1) })
		},
		works: dnsWorks(name),
	}
}

// startRegistry starts a registry that listens on port own, with the rooms; the
// process is to be asked at port.
func (s *stage) startRegistry(ctx context.Context, port, own string, r *rooms, args ...string) (*process, error) {
	store := filepath.Join(s.dir, "registry.db")
	if err := os.RemoveAll(store); err != nil {
		return nil, err
	}
	listen := "127.0.0.1:" + own
	p, err := s.start(port, "registry", append([]string{"serve", "--listen", listen, "--http", "off",
		"--store", store, "--log-level", "error"}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, func(ctx context.Context) error { return askOnce(ctx, listen, "LOOKUP nobody", "NOTOK ") }); err != nil {
		return p, err
	}
	return p, s.programs.Fill(ctx, listen, r.count, "0s")
}

func python() peer {
	return peer{
		name:    "Python",
		program: "python3",
		version: []string{"--version"},
		start: func(ctx context.Context, s *stage, r *rooms) (*process, error) {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			script, err := filepath.Abs("bench/peers/discovery.py")
			if err != nil {
				return nil, err
			}
			p, err := s.start(port, "python3", script, port)
			if err != nil {
				return nil, err
			}
			if err := p.ready(ctx, func(ctx context.Context) error { return askOnce(ctx, p.addr(), "LOOKUP nobody", "NOTOK ") }); err != nil {
				return p, err
			}
			return p, fillPlain(ctx, p, r)
		},
		works: []work{
			{table: lookups, name: "Python's dictionary", run: registryBench(few, "--work", "lookup")},
			{table: lookups256, name: "Python's dictionary", run: registryBench(many, "--work", "lookup")},
		},
	}
}

// registryBench runs `registry bench`. Nothing that it asks may be refused.
func registryBench(of shape, args ...string) runner {
	return func(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
		result, err := s.programs.Load(ctx, p.addr(), append([]string{
			"--flows", fmt.Sprint(of.clients), "--window", fmt.Sprint(of.window),
			"--names", fmt.Sprint(r.count), "--filled", "--duration", s.duration(),
		}, args...)...)
		if err == nil && len(result.Refused) > 0 {
			err = fmt.Errorf("refused: %v", result.Refused)
		}
		return result, err
	}
}

// askOnce sends a line to an address and looks at how the reply begins.
func askOnce(ctx context.Context, addr, line, want string) error {
	c, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return ask(c, []string{line}, want)
}

// ask sends lines, a datagram each, and waits for all replies.
func ask(c net.Conn, lines []string, want string) error {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	for _, l := range lines {
		if _, err := c.Write([]byte(l)); err != nil {
			return err
		}
	}
	reply := make([]byte, 2048)
	for range lines {
		n, err := c.Read(reply)
		if err != nil {
			return err
		}
		if got := string(reply[:n]); !strings.HasPrefix(got, want) {
			return fmt.Errorf("the reply is %q", got)
		}
	}
	return nil
}

// fillPlain registers the rooms in the plain dialect, so many at a time as fit
// into any receive buffer.
func fillPlain(ctx context.Context, p *process, r *rooms) error {
	c, err := net.Dial("udp", p.addr())
	if err != nil {
		return err
	}
	defer c.Close()
	for n := uint64(0); n < r.count && ctx.Err() == nil; {
		var lines []string
		for ; len(lines) < 64 && n < r.count; n++ {
			lines = append(lines, "REGISTER "+roomAddress(n)+" "+roomName(n))
		}
		if err := ask(c, lines, "OK"); err != nil {
			return err
		}
	}
	return ctx.Err()
}
