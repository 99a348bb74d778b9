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
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"foyer"
	"foyer/internal/command"
	"foyer/internal/load"
)

type benchOptions struct {
	load   load.Options
	work   string
	format string
	filled bool
	keep   bool
	heard  bool // a registry has answered
}

func benchCommand() *cobra.Command {
	o := benchOptions{format: "table", work: string(load.Lookup)}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Put load on a running registry and measure it",
		Long: `Put load on a running registry and measure it.

As many rooms as --names says are registered first, to be looked up or renewed;
register and mixed add more. All are deregistered at the end, even after an
error, on SIGINT (Ctrl-C), SIGTERM and SIGHUP, and if the reader of the output
goes away. They have leases in case that is not possible, as on SIGKILL, SIGQUIT
and a second signal. --keep leaves them registered, without leases unless --ttl
says otherwise. Each flow is a socket that keeps a window of request datagrams
in flight. With --rate latency counts from when a request was due, so that
pauses of the registry are not hidden. A request that is not answered within a
second counts as lost. Of several registries the first one is measured.

To be measured from another machine, a registry needs --addresses any, and a
--max-names-per-host of at least the number of these rooms.`,
	}
	registries := command.DiscoveryFlag(c.Flags())
	f := c.Flags()
	f.StringVar(&o.work, "work", o.work, "lookup, register, renew, or mixed: nine look-ups for each registration")
	f.IntVar(&o.load.Flows, "flows", 16, "sockets")
	f.IntVar(&o.load.Window, "window", 16, "request datagrams in flight for each flow")
	f.IntVar(&o.load.Lines, "lines", 1, "requests to a datagram")
	f.Uint64Var(&o.load.Names, "names", 10_000, "rooms to register beforehand, up to 16777216")
	f.DurationVar(&o.load.Duration, "duration", 5*time.Second, "how long to measure")
	f.Float64Var(&o.load.Rate, "rate", 0, "requests a second over all flows, from 0.001 to 1e9, or 0 for as many as are answered")
	f.DurationVar(&o.load.TTL, "ttl", 0, "lease of the registrations (default: some minutes more than the run takes)")
	f.BoolVar(&o.filled, "filled", false, "the rooms are already registered, by an earlier run with --keep")
	f.BoolVar(&o.keep, "keep", false, "leave the rooms registered")
	f.StringVar(&o.format, "format", o.format, "table or json")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.format != "table" && o.format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", o.format)
		}
		if o.load.Work, err = load.ParseWork(o.work); err != nil {
			return command.Usagef("%w", err)
		}
		if err := o.load.Check(); err != nil {
			return command.Usagef("%w", err)
		}
		target, err := net.ResolveUDPAddr("udp", (*registries)[0])
		if err != nil {
			return err
		}
		ap := target.AddrPort()
		o.load.Target = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		o.load.Seed = rand.Uint64()
		defer endAtHangup(c)()
		return bench(c.Context(), &o, c.OutOrStdout(), c.ErrOrStderr())
	}
	return c
}

// number numbers the rooms. Rooms kept by an earlier run, or for a later one,
// are the first ones; others are far away from those that concurrent runs
// register, and would deregister.
func (o *benchOptions) number() {
	l := &o.load
	l.First = l.Names + rand.Uint64N(1<<36)
	if !o.filled && !o.keep {
		l.Base, l.First = l.First, l.First+l.Names
	}
	if l.TTL == 0 && !o.keep {
		filling := time.Duration(l.Names/5000) * time.Second // by a slow registry
		l.TTL = min((5*time.Minute + l.Duration + filling).Round(time.Second), 24*time.Hour)
	}
}

func bench(ctx context.Context, o *benchOptions, stdout, stderr io.Writer) (err error) {
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.load.Progress = func(done uint64, elapsed time.Duration) {
			fmt.Fprintf(stderr, "\r%s: %d requests, %.0f/s ", o.load.Work, done, float64(done)/elapsed.Seconds())
		}
		defer fmt.Fprint(stderr, "\r\x1b[K")
	}
	o.number()
	var mine benchRooms
	if !o.keep {
		began := time.Now()
		defer func() {
			if left := o.clear(context.WithoutCancel(ctx), mine, time.Since(began)); left != nil {
				if errors.Is(err, context.Canceled) {
					err = errors.New("interrupted")
				}
				err = errors.Join(err, left)
			}
		}()
	}
	if o.filled {
		mine.add(o.load.Base, o.load.Base+o.load.Names)
	} else if err := o.fill(ctx, &mine); err != nil {
		return err
	}
	result, err := load.Run(ctx, o.load)
	mine.add(o.load.First, result.Next)
	if err != nil {
		return err
	}
	if o.format == "json" {
		err = json.NewEncoder(stdout).Encode(summary(o, result))
	} else {
		err = printBench(stdout, summary(o, result))
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// benchRooms are ranges of numbers of rooms that a run may have registered.
type benchRooms []struct{ first, next uint64 }

func (r *benchRooms) add(first, next uint64) {
	if next > first {
		*r = append(*r, struct{ first, next uint64 }{first, next})
	}
}

// fill registers the rooms of the load, and adds them to mine.
func (o *benchOptions) fill(ctx context.Context, mine *benchRooms) error {
	refused, next, err := o.each(ctx, load.Fill, o.load.Base, o.load.Base+o.load.Names)
	mine.add(o.load.Base, next)
	delete(refused, foyer.NameTaken) // kept by an earlier run, or registered by an attempt whose answer was lost
	delete(refused, "")              // in the plain dialect that has no code
	for code, n := range refused {
		if err == nil {
			err = fmt.Errorf("the registry refuses to register rooms for this: %d times %s", n, code)
		}
	}
	return err
}

// clear deregisters rooms. How long it may take depends on how long registering
// and measuring took. It returns an error if some are left.
func (o *benchOptions) clear(ctx context.Context, rooms benchRooms, took time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second+2*took)
	defer cancel()
	left := uint64(0)
	for _, r := range rooms {
		refused, _, failure := o.each(ctx, load.Clear, r.first, r.next)
		delete(refused, foyer.UnknownName)
		delete(refused, "")
		if failure != nil {
			left, err = left+r.next-r.first, failure
			continue
		}
		for code, n := range refused {
			left, err = left+n, fmt.Errorf("refused as %s", code)
		}
	}
	if left == 0 || !o.heard && !o.filled && nobodyAt(ctx, o.load.Target) {
		return nil
	}
	until := "without leases"
	if o.load.TTL > 0 {
		until = "with leases that end by " + time.Now().Add(o.load.TTL).Format(time.DateTime)
	}
	return fmt.Errorf("up to %d rooms were left registered, %s: %w", left, until, err)
}

// nobodyAt reports whether the target's system says that no program has that
// port open. Silence proves nothing.
func nobodyAt(ctx context.Context, target netip.AddrPort) bool {
	c, err := new(net.Dialer).DialContext(ctx, "udp", target.String())
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err = c.Write([]byte("LOOKUP nobody")); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// each registers or deregisters all rooms from first to next without measuring,
// eight to a datagram. It returns how many were refused in the end, by code,
// and the number after the last room that was asked for.
func (o *benchOptions) each(ctx context.Context, work load.Work, first, next uint64) (refused map[foyer.Code]uint64, reached uint64, err error) {
	all := o.load
	all.Work, all.First, all.Names = work, first, next-first
	all.Rate, all.Lines, all.Window = 0, 8, 16
	reached = first
	for {
		r, err := load.Run(ctx, all)
		o.heard = o.heard || r.Requests > 0
		reached = max(reached, r.Next)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, reached, err
		}
		if r.Lost == 0 && r.Refused[foyer.Busy] == 0 {
			return r.Refused, reached, nil
		}
		// Unanswered requests are repeated; the rest was refused.
	}
}

// A benchSummary is what `registry bench --format json` prints: one object.
type benchSummary struct {
	Work          load.Work             `json:"work"`
	Flows         int                   `json:"flows"`
	Window        int                   `json:"window"`
	Lines         int                   `json:"lines"`
	Names         uint64                `json:"names"`
	Seconds       float64               `json:"seconds"`
	Requests      uint64                `json:"requests"`
	PerSecond     float64               `json:"requests_per_second"`
	Lost          uint64                `json:"lost"`
	Refused       map[foyer.Code]uint64 `json:"refused"`
	LatencyMicros map[string]float64    `json:"latency_us"`
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
	codes := make([]foyer.Code, 0, len(s.Refused))
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
