package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"foyer/internal/command"
	"foyer/internal/load"
	"foyer/room"
)

type benchOptions struct {
	load   load.Options
	work   string
	format string
	filled bool
	keep   bool
}

func benchCommand() *cobra.Command {
	o := benchOptions{format: "table", work: string(load.Lookup)}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Put load on a running registry and measure it",
		Long: `Put load on a running registry and measure it.

So many rooms as --names says are registered first, to be looked up or renewed;
register and mixed add further ones. All are deregistered at the end, unless
--keep is given. Each
flow is a socket that keeps a window of request datagrams in flight. With --rate
latency counts from when a request was due, so that pauses of the registry are
not hidden. A request without an answer for a second counts as lost.`,
	}
	registries := command.DiscoveryFlag(c.Flags())
	f := c.Flags()
	f.StringVar(&o.work, "work", o.work, "lookup, register, renew, or mixed: nine look-ups to a registration")
	f.IntVar(&o.load.Flows, "flows", 16, "sockets")
	f.IntVar(&o.load.Window, "window", 16, "request datagrams in flight for each flow")
	f.IntVar(&o.load.Lines, "lines", 1, "requests to a datagram")
	f.Uint64Var(&o.load.Names, "names", 10_000, "rooms that are registered before")
	f.DurationVar(&o.load.Duration, "duration", 5*time.Second, "how long to measure")
	f.Float64Var(&o.load.Rate, "rate", 0, "requests a second over all flows, 0 for as many as are answered")
	f.DurationVar(&o.load.TTL, "ttl", 0, "lease of the registrations, 0 for none")
	f.BoolVar(&o.filled, "filled", false, "the rooms are registered already, by an earlier run with --keep")
	f.BoolVar(&o.keep, "keep", false, "leave the rooms registered")
	f.StringVar(&o.format, "format", o.format, "table or json")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.format != "table" && o.format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", o.format)
		}
		if o.load.Work, err = load.ParseWork(o.work); err != nil {
			return command.Usagef("%w", err)
		}
		target, err := net.ResolveUDPAddr("udp", (*registries)[0])
		if err != nil {
			return err
		}
		ap := target.AddrPort()
		o.load.Target = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		o.load.Seed = rand.Uint64()
		return bench(c.Context(), &o, c.OutOrStdout(), c.ErrOrStderr())
	}
	return c
}

func bench(ctx context.Context, o *benchOptions, stdout, stderr io.Writer) (err error) {
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.load.Progress = func(done uint64, elapsed time.Duration) {
			fmt.Fprintf(stderr, "\r%s: %d requests, %.0f/s ", o.load.Work, done, float64(done)/elapsed.Seconds())
		}
		defer fmt.Fprint(stderr, "\r\x1b[K")
	}
	if !o.filled {
		if err := o.each(ctx, load.Fill, 0, o.load.Names); err != nil {
			return err
		}
	}
	// Far from what other runs have registered.
	o.load.First = o.load.Names + rand.Uint64N(1<<36)
	result, err := load.Run(ctx, o.load)
	if err != nil {
		return err
	}
	if !o.keep {
		defer func() {
			ctx := context.WithoutCancel(ctx)
			err = errors.Join(err,
				o.each(ctx, load.Clear, 0, o.load.Names),
				o.each(ctx, load.Clear, o.load.First, result.Next-o.load.First))
		}()
	}
	if o.format == "json" {
		return json.NewEncoder(stdout).Encode(summary(o, result))
	}
	return printBench(stdout, summary(o, result))
}

// each registers or deregisters rooms, all of them, without measuring: eight to
// a datagram is quick.
func (o *benchOptions) each(ctx context.Context, work load.Work, first, names uint64) error {
	if names == 0 {
		return nil
	}
	all := o.load
	all.Work, all.First, all.Names = work, first, names
	all.Rate, all.Lines, all.Window = 0, 8, 16
	for ctx.Err() == nil {
		r, err := load.Run(ctx, all)
		if err != nil || r.Lost == 0 && r.Refused[room.Busy] == 0 {
			return err
		}
		// What was not answered is asked for again; the rest is refused.
	}
	return ctx.Err()
}

// A benchSummary is what `registry bench --format json` prints: one object.
type benchSummary struct {
	Work          load.Work            `json:"work"`
	Flows         int                  `json:"flows"`
	Window        int                  `json:"window"`
	Lines         int                  `json:"lines"`
	Names         uint64               `json:"names"`
	Seconds       float64              `json:"seconds"`
	Requests      uint64               `json:"requests"`
	PerSecond     float64              `json:"requests_per_second"`
	Lost          uint64               `json:"lost"`
	Refused       map[room.Code]uint64 `json:"refused"`
	LatencyMicros map[string]float64   `json:"latency_us"`
}

var quantiles = []struct {
	name string
	q    float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}}

func summary(o *benchOptions, r *load.Result) *benchSummary {
	s := &benchSummary{
		Work: o.load.Work, Flows: o.load.Flows, Window: o.load.Window, Lines: o.load.Lines, Names: o.load.Names,
		Seconds: r.Elapsed.Seconds(), Requests: r.Requests, PerSecond: r.Rate(), Lost: r.Lost, Refused: r.Refused,
		LatencyMicros: map[string]float64{},
	}
	for _, q := range quantiles {
		s.LatencyMicros[q.name] = float64(r.Quantile(q.q)) / float64(time.Microsecond)
	}
	return s
}

func printBench(w io.Writer, s *benchSummary) error {
	fmt.Fprintf(w, "%-12s %s, %d flows with %d datagrams of %d in flight, %d names\n", "work", s.Work, s.Flows, s.Window, s.Lines, s.Names)
	fmt.Fprintf(w, "%-12s %d in %.1f s, %.0f a second\n", "answered", s.Requests, s.Seconds, s.PerSecond)
	fmt.Fprintf(w, "%-12s %d\n", "lost", s.Lost)
	codes := make([]room.Code, 0, len(s.Refused))
	for code := range s.Refused {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		fmt.Fprintf(w, "%-12s %d %s\n", "refused", s.Refused[code], code)
	}
	fmt.Fprintf(w, "%-12s", "latency")
	for _, q := range quantiles {
		fmt.Fprintf(w, " %s %v", q.name, time.Duration(s.LatencyMicros[q.name]*1000).Round(100*time.Nanosecond))
	}
	_, err := fmt.Fprintln(w)
	return err
}
