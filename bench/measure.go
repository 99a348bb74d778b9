//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"foyer/internal/workbench"
)

func perSecond(r *workbench.Result) float64 { return r.PerSecond }
func p50(r *workbench.Result) float64       { return r.Latency["p50"] }
func p99(r *workbench.Result) float64       { return r.Latency["p99"] }

// A row is one line of the table: a load, and what of its result is compared.
type row struct {
	name      string
	load      []string
	floorLoad []string // nil: 16 look-ups in flight on each of 16 sockets
	of        func(*workbench.Result) float64
	target    float64
	less      bool                   // the ratio is to be below the target
	each      func(requests float64) // is told of every run of the registry
	always    bool                   // measured whatever -only says
	ratio     *float64               // gets the ratio, if not nil
}

func (b *bench) measure(ctx context.Context, r row, floor, reg *workbench.Server) error {
	return b.measureWith(ctx, r, floor, func() (*workbench.Server, func(), error) { return reg, func() {}, nil })
}

// measureWith lets floor and registry take turns; start provides the registry
// of a run.
func (b *bench) measureWith(ctx context.Context, r row, floor *workbench.Server, start func() (*workbench.Server, func(), error)) error {
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
	ratio := workbench.Median(regs) / workbench.Median(floors)
	if r.ratio != nil {
		*r.ratio = ratio
	}
	sign := ">="
	if r.less {
		sign = "<="
	}
	fmt.Printf("%-52s %22s %22s %8.3f %s %.2f\n", r.name, workbench.Spread(floors), workbench.Spread(regs), ratio, sign, r.target)
	return nil
}

func printValue(name string, v float64, unit string, target float64) {
	fmt.Printf("%-52s %22s %19.1f %-2s %8s <= %g\n", name, "", v, unit, "", target)
}

// printShare prints what is left of one ratio in another.
func printShare(name string, many, few, target float64) {
	if many > 0 && few > 0 {
		fmt.Printf("%-52s %22s %22s %8.3f >= %.2f\n", name, "", "", many/few, target)
	}
}

// load runs `registry bench` against a server.
func (b *bench) load(ctx context.Context, s *workbench.Server, args []string) (*workbench.Result, error) {
	duration := time.Duration(b.seconds * float64(time.Second)).String()
	return b.bin.Load(ctx, s.Addr, append([]string{"--duration", duration}, args...)...)
}

func (b *bench) build(ctx context.Context) error {
	if err := b.bin.Build(ctx); err != nil {
		return err
	}
	return workbench.Run(ctx, "gcc", "-O2", "-o", filepath.Join(string(b.bin), "floor"), "bench/floor/floor.c")
}

func (b *bench) startFloor(ctx context.Context) (*workbench.Server, error) {
	return b.bin.Start(ctx, "floor", "0")
}
