//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"foyer/internal/workbench"
)

// Tables are the rows, in the order in which they came up.
type tables []*row

// A row is what one peer did of one kind of work.
type row struct {
	table, name string
	err         error // why it was not measured, or not as often as it should

	perSecond []float64
	latency   map[string][]float64 // microseconds by percentile, or "mean" where the tool tells no more
	server    []float64            // its processor time, as a share of the run's time
	load      []float64            // and the load's
	lost      float64              // requests without an answer within a second, in all runs
}

// row returns the row of w, a new one if there is none.
func (t *tables) row(w work) *row {
	for _, r := range *t {
		if r.table == w.table && r.name == w.name {
			return r
		}
	}
	r := &row{table: w.table, name: w.name, latency: map[string][]float64{}}
	*t = append(*t, r)
	return r
}

func (r *row) add(result *workbench.Result, server, load time.Duration) {
	seconds := result.Requests / result.PerSecond
	r.perSecond = append(r.perSecond, result.PerSecond)
	for percentile, micros := range result.Latency {
		r.latency[percentile] = append(r.latency[percentile], micros)
	}
	r.server = append(r.server, server.Seconds()/seconds)
	r.load = append(r.load, load.Seconds()/seconds)
	r.lost += result.Lost
}

func (t *tables) print(of string) {
	for _, table := range []string{lookups, lookups256, batches, durable, durable256} {
		fmt.Printf("\n%-52s %21s %6s %9s %9s %15s %15s\n", table+of, "a second", "ratio", "p50", "p99", "server", "load")
		registry := t.row(work{table: table, name: base})
		for _, r := range *t {
			if r.table == table {
				r.print(registry)
			}
		}
	}
}

func (r *row) print(registry *row) {
	why, _, _ := strings.Cut(fmt.Sprint(r.err), "\n")
	if len(r.perSecond) == 0 {
		fmt.Printf("  %-50s not run: %s\n", r.name, why)
		return
	}
	ratio := "-"
	if len(registry.perSecond) > 0 {
		ratio = fmt.Sprintf("%.2f", workbench.Median(r.perSecond)/workbench.Median(registry.perSecond))
	}
	latency := func(percentile string) string {
		if len(r.latency[percentile]) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f ms", workbench.Median(r.latency[percentile])/1000)
	}
	note := ""
	if len(r.latency["mean"]) > 0 {
		note = "  mean latency " + latency("mean")
	}
	if r.lost > 0 {
		note += fmt.Sprintf("  %.0f lost", r.lost)
	}
	if r.err != nil {
		note += fmt.Sprintf("  only %d runs: %s", len(r.perSecond), why)
	}
	fmt.Printf("  %-50s %21s %6s %9s %9s %15s %15s%s\n", r.name, workbench.Spread(r.perSecond), ratio,
		latency("p50"), latency("p99"), r.processor(r.server), r.processor(r.load), note)
}

// processor prints processor time: as a share of one core, and for a request.
func (r *row) processor(shares []float64) string {
	share := workbench.Median(shares)
	return fmt.Sprintf("%3.0f%% %7.2f µs", 100*share, 1e6*share/workbench.Median(r.perSecond))
}
