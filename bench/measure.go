//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The server has serverCPU for itself and the load has loadCPU.
const (
	serverCPU = 0
	loadCPU   = 1
)

// A result is what `registry bench --format json` prints, as far as it matters
// here.
type result struct {
	PerSecond float64            `json:"requests_per_second"`
	Requests  float64            `json:"requests"`
	Lost      float64            `json:"lost"`
	Refused   map[string]float64 `json:"refused"`
	Latency   map[string]float64 `json:"latency_us"`
}

func perSecond(r *result) float64 { return r.PerSecond }
func p50(r *result) float64       { return r.Latency["p50"] }
func p99(r *result) float64       { return r.Latency["p99"] }

// A row is one line of the table: a load, and what of its result is compared.
type row struct {
	name      string
	load      []string
	floorLoad []string // nil: 16 look-ups in flight on each of 16 sockets
	of        func(*result) float64
	target    float64
	less      bool                   // the ratio is to be below the target
	each      func(requests float64) // is told of every run of the registry
	always    bool                   // measured whatever -only says
}

func (b *bench) measure(ctx context.Context, r row, floor, reg *server) error {
	return b.measureWith(ctx, r, floor, func() (*server, func(), error) { return reg, func() {}, nil })
}

// measureWith lets floor and registry take turns; start provides the registry
// of a run.
func (b *bench) measureWith(ctx context.Context, r row, floor *server, start func() (*server, func(), error)) error {
	if !r.always && !b.wanted(r.name) {
		return nil
	}
	if r.of == nil {
		r.of = perSecond
	}
	if r.floorLoad == nil {
		r.floorLoad = lookup(10_000)
		if r.less {
			r.floorLoad = r.load // latencies compare under the same load
		}
	}
	var floors, regs []float64
	for range b.runs {
		f, err := b.load(ctx, floor, r.floorLoad)
		if err != nil {
			return err
		}
		reg, stop, err := start()
		if err != nil {
			return err
		}
		g, err := b.load(ctx, reg, r.load)
		stop()
		if err != nil {
			return err
		}
		for code, n := range g.Refused {
			return fmt.Errorf("%s: %.0f requests were refused as %q", r.name, n, code)
		}
		if r.each != nil {
			r.each(g.Requests)
		}
		floors, regs = append(floors, r.of(f)), append(regs, r.of(g))
	}
	ratio := median(regs) / median(floors)
	sign := ">="
	if r.less {
		sign = "<="
	}
	fmt.Printf("%-52s %22s %22s %8.3f %s %.2f\n", r.name, spread(floors), spread(regs), ratio, sign, r.target)
	return nil
}

func printValue(name string, v float64, unit string, target float64) {
	fmt.Printf("%-52s %22s %19.1f %-2s %8s <= %g\n", name, "", v, unit, "", target)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

// spread prints the median with the least and the most.
func spread(v []float64) string {
	short := func(x float64) string {
		switch {
		case x >= 1e6:
			return fmt.Sprintf("%.2fM", x/1e6)
		case x >= 1e3:
			return fmt.Sprintf("%.0fk", x/1e3)
		}
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%s (%s-%s)", short(median(v)), short(slices.Min(v)), short(slices.Max(v)))
}

func count(n uint64) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d million", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d thousand", n/1000)
	}
	return fmt.Sprint(n)
}

// load runs `registry bench` against a server.
func (b *bench) load(ctx context.Context, s *server, args []string) (*result, error) {
	args = append([]string{
		"bench", "--discovery", s.addr, "--keep", "--format", "json",
		"--duration", time.Duration(b.seconds * float64(time.Second)).String(),
	}, args...)
	return b.runLoad(ctx, args)
}

func (b *bench) runLoad(ctx context.Context, args []string) (*result, error) {
	c := exec.CommandContext(ctx, filepath.Join(b.bin, "registry"), args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := startPinned(c, loadCPU); err != nil {
		return nil, err
	}
	if err := c.Wait(); err != nil {
		return nil, fmt.Errorf("registry %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	var r result
	return &r, json.Unmarshal([]byte(out.String()), &r)
}

// fill registers the first rooms.
func (b *bench) fill(ctx context.Context, reg *server, names uint64, ttl string) error {
	_, err := b.runLoad(ctx, []string{
		"bench", "--discovery", reg.addr, "--keep", "--format", "json", "--duration", "1ms",
		"--names", fmt.Sprint(names), "--ttl", ttl,
	})
	return err
}

func (b *bench) build(ctx context.Context) error {
	for _, args := range [][]string{
		{"go", "build", "-o", b.bin, "./registry"},
		{"gcc", "-O2", "-o", filepath.Join(b.bin, "floor"), "bench/floor/floor.c"},
	} {
		c := exec.CommandContext(ctx, args[0], args[1:]...)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

// A server is a process that answers on addr.
type server struct {
	cmd  *exec.Cmd
	addr string
}

func (b *bench) startFloor(ctx context.Context) (*server, error) {
	return b.start(ctx, "floor", "0")
}

func (b *bench) startRegistry(ctx context.Context, store string) (*server, error) {
	return b.start(ctx, "registry", "serve", "--listen", "127.0.0.1:0", "--http", "off", "--store", store)
}

// start starts a server and waits for the line that says where it listens.
func (b *bench) start(ctx context.Context, name string, args ...string) (*server, error) {
	c := exec.CommandContext(ctx, filepath.Join(b.bin, name), args...)
	c.Stderr = os.Stderr
	if name == "registry" {
		c.Args = append(c.Args, "--log-level", "error")
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startPinned(c, serverCPU); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), name+": listening on ")
	if !ok {
		_ = c.Process.Kill()
		_ = c.Wait()
		return nil, fmt.Errorf("%s said %q, %v", name, line, err)
	}
	return &server{c, addr}, nil
}

func (s *server) stop() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(os.Interrupt)
		_ = s.cmd.Wait()
	}
}

// startPinned starts c on one processor, with one thread at a time for Go code.
func startPinned(c *exec.Cmd, cpu int) error {
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	runtime.LockOSThread() // a child begins with the processors of the thread that forks it
	defer runtime.UnlockOSThread()
	restore, err := pin(cpu % runtime.NumCPU())
	if err != nil {
		return err
	}
	defer restore()
	return c.Start()
}
