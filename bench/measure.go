//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"foyer/internal/workbench"
)

// A row is one line of the table.
type row struct {
	name   string
	of     func(context.Context, *subject) (float64, error)
	floor  func(context.Context) (float64, error) // nil: the figure itself has the target
	once   bool                                   // measured once, and not once a run
	unit   string
	target float64
	less   bool // the less, the better
	needed bool // measured even if it is not asked for, as another row needs it
	free   bool // may be worse than it was in the earlier revision
}

// worst is the part of an earlier revision's figure that is still good enough.
const worst = 0.9

// measure lets floor and subjects take turns, and prints the row. Rows that are
// not asked for are left out.
func (b *bench) measure(ctx context.Context, rows ...row) error {
	for _, r := range rows {
		if !r.needed && !b.wanted(r.name) {
			continue
		}
		var floors []float64
		figures := make([][]float64, len(b.subjects))
		for run := range b.runs {
			if r.floor != nil {
				f, err := r.floor(ctx)
				if err != nil {
					return fmt.Errorf("%s, floor: %w", r.name, err)
				}
				floors = append(floors, f)
			}
			for k := range b.subjects { // the first in one run is the last in the next
				i := (k + run) % len(b.subjects)
				f, err := r.of(ctx, b.subjects[i])
				if err != nil {
					return fmt.Errorf("%s, %s: %w", r.name, b.subjects[i].name, err)
				}
				figures[i] = append(figures[i], f)
			}
			if r.once {
				break
			}
		}
		if last := figures[len(figures)-1]; !math.IsNaN(last[0]) && !math.IsInf(last[0], 0) && last[0] != 0 {
			b.print(r, floors, figures)
		} // else it is made of rows that were not asked for
	}
	return nil
}

const cell = 24 // the width of a figure with its spread

func (b *bench) printHead() {
	fmt.Printf("%-52s %*s", "work", cell, "floor")
	for _, s := range b.subjects {
		fmt.Printf(" %*s", cell, s.name)
	}
	fmt.Printf(" %8s %9s", "ratio", "target")
	if b.against != "" {
		fmt.Printf(" %18s %10s", "to before   ", "best runs")
	}
	fmt.Println()
}

// print prints a row: its figures, the ratio of this revision's to the floor, the
// target of that ratio or of the figure, and the ratio to the earlier revision,
// with its bound if it has one.
func (b *bench) print(r row, floors []float64, figures [][]float64) {
	show := func(v []float64) string {
		text := workbench.Spread(v)
		if len(v) == 1 {
			text = fmt.Sprintf("%.2f", v[0])
		}
		if r.unit != "" {
			text += " " + r.unit
		}
		return text
	}
	sign, bound := ">=", worst
	if r.less {
		sign, bound = "<=", 1/worst
	}
	best := slices.Max[[]float64]
	if r.less {
		best = slices.Min[[]float64]
	}
	floor, ratio := "", ""
	if len(floors) > 0 {
		floor = show(floors)
		for i, s := range b.subjects {
			s.ratios[r.name] = workbench.Median(figures[i]) / workbench.Median(floors)
			ratio = fmt.Sprintf("%.3f", s.ratios[r.name])
		}
	}
	fmt.Printf("%-52s %*s", r.name, cell, floor)
	for _, v := range figures {
		fmt.Printf(" %*s", cell, show(v))
	}
	fmt.Printf(" %8s %s %6g", ratio, sign, r.target)
	if b.against != "" {
		// Of runs that followed each other: one minute is not like another. The best
		// runs are those that other work on the machine disturbed least.
		var pairs []float64
		for i, earlier := range figures[0] {
			pairs = append(pairs, figures[1][i]/earlier)
		}
		limit := ""
		if !r.free {
			limit = fmt.Sprintf("%s %.2f", sign, bound)
		}
		fmt.Printf(" %10.2f %7s %10.2f", workbench.Median(pairs), limit, best(figures[1])/best(figures[0]))
	}
	fmt.Println()
}

// share is the row of what is left of one row's ratio to the floor in another's.
func (b *bench) share(name, many, few string, target float64) row {
	return row{name: name, once: true, free: true, target: target, of: func(_ context.Context, s *subject) (float64, error) {
		return s.ratios[many] / s.ratios[few], nil // NaN if neither was measured
	}}
}

func perSecond(r *workbench.Result) float64 { return r.PerSecond }
func p50(r *workbench.Result) float64       { return r.Latency["p50"] }
func p99(r *workbench.Result) float64       { return r.Latency["p99"] }

// load puts load on a server once; it may be the floor.
func (b *bench) load(ctx context.Context, s *workbench.Server, args []string) (*workbench.Result, error) {
	duration := time.Duration(b.seconds * float64(time.Second)).String()
	result, err := b.bin.Load(ctx, s.Addr, append([]string{"--duration", duration}, args...)...)
	if err != nil {
		return nil, err
	}
	for code, n := range result.Refused {
		return nil, fmt.Errorf("%.0f requests were refused as %q", n, code)
	}
	return result, nil
}

// onFloor is a figure of the floor under a load.
func (b *bench) onFloor(of func(*workbench.Result) float64, args []string) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		result, err := b.load(ctx, b.floor, args)
		if err != nil {
			return 0, err
		}
		return of(result), nil
	}
}

// onRegistry is a figure of a subject's registry under a load.
func (b *bench) onRegistry(server func(*subject) *workbench.Server, of func(*workbench.Result) float64, args []string) func(context.Context, *subject) (float64, error) {
	return func(ctx context.Context, s *subject) (float64, error) {
		result, err := b.load(ctx, server(s), args)
		if err != nil {
			return 0, err
		}
		return of(result), nil
	}
}

func lookup(names uint64, more ...string) []string {
	return append([]string{"--work", "lookup", "--names", fmt.Sprint(names), "--filled"}, more...)
}

func register(names uint64) []string {
	return []string{"--work", "register", "--names", fmt.Sprint(names), "--filled"}
}
