//go:build linux

// Command bench measures the registry against the floor: what a C program that
// only sends datagrams back does on the same machine, in the same run, under the
// same load (floor/floor.c). The server has one core and the load another one.
//
//	go run ./bench [-runs 5] [-seconds 2] [-names 1000000] [-only WORD]
//
// Every row is the median of its runs, which alternate between floor and
// registry; what counts is the ratio. docs/performance.md explains the rows.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"foyer/internal/workbench"
)

func main() {
	if path := os.Getenv("FOYER_BENCH_WALK"); path != "" { // see opening
		if err := walk(path); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var b bench
	flag.IntVar(&b.runs, "runs", 5, "runs of each row")
	flag.Float64Var(&b.seconds, "seconds", 2, "length of a run")
	flag.Uint64Var(&b.names, "names", 1_000_000, "rooms in the large store")
	flag.StringVar(&b.only, "only", "", "only rows whose name has this in it")
	flag.StringVar(&b.dir, "dir", "", "folder for the databases (default: a temporary one); its disk is what is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	runs    int
	seconds float64
	names   uint64
	only    string
	dir     string

	bin workbench.Programs

	// What was measured with few names, as parts of the floor; 0 if it was not.
	fewLookups, fewRegistrations float64
}

func (b *bench) main(ctx context.Context) (err error) {
	bin, err := os.MkdirTemp("", "foyer-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	b.bin = workbench.Programs(bin)
	if b.dir == "" {
		b.dir = bin
	} else if b.dir, err = os.MkdirTemp(b.dir, "foyer-bench-"); err != nil {
		return err
	} else {
		defer os.RemoveAll(b.dir)
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	fmt.Printf("%s\n%d runs of %.1f s, medians (least to most)\n\n", workbench.Machine(), b.runs, b.seconds)
	fmt.Printf("%-52s %22s %22s %8s %8s\n", "work", "floor", "registry", "ratio", "target")
	for _, step := range []func(context.Context) error{b.small, b.large} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wanted reports whether a row is asked for.
func (b *bench) wanted(row string) bool { return strings.Contains(row, b.only) }

// small measures a registry with ten thousand names.
func (b *bench) small(ctx context.Context) error {
	const names = 10_000
	floor, err := b.startFloor(ctx)
	if err != nil {
		return err
	}
	defer floor.Stop()
	reg, err := b.bin.StartRegistry(ctx, filepath.Join(b.dir, "small.db"))
	if err != nil {
		return err
	}
	defer reg.Stop()
	if err := b.bin.Fill(ctx, reg.Addr, names, "1h"); err != nil {
		return err
	}
	for _, r := range []row{
		{name: "look-ups, 10 thousand names", load: lookup(names), target: 0.95, ratio: &b.fewLookups},
		{name: "look-ups, 16 to a datagram, 10 thousand names", load: lookup(names, "--lines", "16"), target: 10},
		{name: "one look-up in flight, p50", load: lookup(names, "--flows", "1", "--window", "1"), of: p50, target: 1.1, less: true},
		{name: "one look-up in flight, p99", load: lookup(names, "--flows", "1", "--window", "1"), of: p99, target: 1.25, less: true},
		{name: "look-ups, 256 clients, one in flight each", load: lookup(names, "--flows", "256", "--window", "1"), floorLoad: lookup(names, "--flows", "256", "--window", "1"), target: 0.85},
		{name: "renewals, 16 to a datagram, 10 thousand names", load: []string{"--work", "renew", "--names", fmt.Sprint(names), "--filled", "--lines", "16"}, target: 5},
	} {
		if err := b.measure(ctx, r, floor, reg); err != nil {
			return err
		}
	}
	return b.registrations(ctx, floor)
}

// registrations measures durable registrations on a store that is empty at
// first, a new one for each run.
func (b *bench) registrations(ctx context.Context, floor *workbench.Server) error {
	r := row{name: "registrations, 256 in flight, empty store", load: register(1), target: 0.40, ratio: &b.fewRegistrations}
	if !b.wanted(r.name) {
		return nil
	}
	n := 0
	return b.measureWith(ctx, r, floor, func() (*workbench.Server, func(), error) {
		n++
		reg, err := b.bin.StartRegistry(ctx, filepath.Join(b.dir, fmt.Sprintf("empty%d.db", n)))
		if err != nil {
			return nil, nil, err
		}
		if err := b.bin.Fill(ctx, reg.Addr, 1, "0s"); err != nil {
			return nil, nil, err
		}
		return reg, reg.Stop, nil
	})
}

// large measures a registry with a million names: work, disk, memory, opening.
func (b *bench) large(ctx context.Context) error {
	path := filepath.Join(b.dir, "large.db")
	floor, err := b.startFloor(ctx)
	if err != nil {
		return err
	}
	defer floor.Stop()
	reg, err := b.bin.StartRegistry(ctx, path)
	if err != nil {
		return err
	}
	defer func() { reg.Stop() }()
	if err := b.bin.Fill(ctx, reg.Addr, b.names, "0s"); err != nil {
		return err
	}
	of := ", " + workbench.Count(b.names) + " names"
	var lookups, registrations float64
	for _, r := range []row{
		{name: "look-ups" + of, load: lookup(b.names), target: 0.95, ratio: &lookups},
		{name: "look-ups, 16 to a datagram" + of, load: lookup(b.names, "--lines", "16"), target: 6},
	} {
		if err := b.measure(ctx, r, floor, reg); err != nil {
			return err
		}
	}
	if err := b.memory(reg, of); err != nil {
		return err
	}
	r := row{name: "registrations, 256 in flight" + of, load: register(b.names), target: 0.30, ratio: &registrations}
	if b.wanted(r.name) || b.wanted("bytes written") {
		before, err := written(reg)
		if err != nil {
			return err
		}
		total := 0.0
		r.each = func(requests float64) { total += requests }
		r.always = true
		if err := b.measure(ctx, r, floor, reg); err != nil {
			return err
		}
		after, err := written(reg)
		if err != nil {
			return err
		}
		printValue("bytes written for a registration"+of, float64(after-before)/total, "B", 1536)
	}
	printShare("look-ups, that many names over 10 thousand", lookups, b.fewLookups, 0.75)
	printShare("registrations, that many names over none", registrations, b.fewRegistrations, 0.5)
	reg.Stop()
	return b.opening(ctx, path, of)
}

func lookup(names uint64, more ...string) []string {
	return append([]string{"--work", "lookup", "--names", fmt.Sprint(names), "--filled"}, more...)
}

func register(names uint64) []string {
	return []string{"--work", "register", "--names", fmt.Sprint(names), "--filled"}
}
