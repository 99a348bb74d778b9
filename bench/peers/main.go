//go:build linux

// Command peers lets what people would use instead of a registry do its work:
// redis, the name servers NSD, Knot and CoreDNS, etcd, and a dictionary in
// Python. Each has one core and its load another one, all in the same run and
// with the same names.
//
//	go run ./bench/peers [-runs 3] [-seconds 1.5] [-names 1000000] [-only NAME,...]
//
// It wants the programs that bench/peers/install installs and builds (`make
// bench-peers` does both), and prints what it cannot run, and why, in its place
// in the table. All traffic stays on 127.0.0.1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"foyer/internal/workbench"
)

// A stage is where it all happens.
type stage struct {
	runs    int
	seconds float64
	large   uint64
	only    string
	limit   time.Duration

	dir      string             // configurations and databases
	programs workbench.Programs // what bench/peers/install builds
}

// A peer is a system that is measured.
type peer struct {
	name    string
	program string
	version []string // arguments that make program print its version

	// start starts it and gives it the rooms. It may return a process along with
	// an error.
	start func(context.Context, *stage, *rooms) (*process, error)
	works []work
}

// A runner puts load on a peer once.
type runner func(context.Context, *stage, *process, *rooms) (*workbench.Result, error)

// A work is something that a peer is asked to do: a row of a table.
type work struct {
	table string
	name  string
	run   runner
}

// The tables, and the row that the others are held against. All have 256
// requests in flight but batches: from 16 clients with 16 each, or from 256
// clients with one each.
const (
	lookups    = "look-ups, 16 × 16"
	lookups256 = "look-ups, 256 × 1"
	batches    = "look-ups, 16 at a time, 256 × 16"
	durable    = "registrations, 16 × 16"
	durable256 = "registrations, 256 × 1"

	base = "registry"
)

// A shape is how a table's load is made up.
type shape struct{ clients, window int }

var (
	few  = shape{16, 16}
	many = shape{256, 1}
)

// How long one step of a peer may take.
const (
	startLimit = 90 * time.Second
	runLimit   = 30 * time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == askMode { // see ask.go
		if err := askMain(os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "peers:", err)
			os.Exit(1)
		}
		return
	}
	var s stage
	flag.IntVar(&s.runs, "runs", 3, "runs of each row; the registry has as many again at the end")
	flag.Float64Var(&s.seconds, "seconds", 1.5, "length of a run")
	flag.Uint64Var(&s.large, "names", 1_000_000, "rooms in the large stores")
	flag.StringVar(&s.only, "only", "", "only these systems beside the registry, with commas between them")
	flag.DurationVar(&s.limit, "limit", 8*time.Minute, "what has not begun by then is not run")
	flag.StringVar(&s.dir, "dir", "", "folder for the databases (default: the system's for temporary files); its disk is what is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func (s *stage) main(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp(s.dir, "foyer-peers-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	build, err := filepath.Abs("build/peers")
	if err != nil {
		return err
	}
	s.programs = workbench.Programs(build)
	if err := s.programs.Build(ctx); err != nil {
		return err
	}
	// Debian keeps name servers where only root looks for programs.
	if err := os.Setenv("PATH", build+":"+os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	peers := s.peers()
	fmt.Printf("%s, %s\n%s\n", workbench.Machine(), loadAverage(), versions(ctx, peers))
	fmt.Printf("clients × requests in flight of each; runs of %.1f s, medians (least to most)\n", s.seconds)
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	for _, count := range []uint64{10_000, s.large} {
		r, err := s.writeRooms(count)
		if err != nil {
			return err
		}
		var t tables
		for _, p := range peers {
			s.measure(limited, p, r, &t)
			if err := ctx.Err(); err != nil {
				return errors.New("interrupted")
			}
		}
		t.print(", " + workbench.Count(count) + " names")
	}
	return nil
}

// peers are all systems, with the registry at the beginning and at the end: on
// machines of the cloud one minute is not like another.
func (s *stage) peers() []peer {
	chosen := []peer{registry()}
	for _, p := range []peer{registryDNS(), redis(), nsd(), knot(), coreDNS(), etcd(), python()} {
		if s.only == "" || slices.ContainsFunc(strings.Split(s.only, ","), func(w string) bool { return strings.EqualFold(w, p.name) }) {
			chosen = append(chosen, p)
		}
	}
	return append(chosen, registry())
}

func versions(ctx context.Context, peers []peer) string {
	var all []string
	for _, p := range peers[1 : len(peers)-1] {
		line := "not installed"
		if text, err := output(ctx, p.program, p.version...); err == nil {
			line, _, _ = strings.Cut(text, "\n")
		}
		all = append(all, p.name+": "+line)
	}
	return strings.Join(all, "\n")
}

// measure starts a peer and puts each load on it. What goes wrong takes its
// place in the tables.
func (s *stage) measure(ctx context.Context, peer peer, r *rooms, t *tables) {
	fail := func(from int, err error) {
		for _, w := range peer.works[from:] {
			t.row(w).err = err
		}
	}
	if ctx.Err() != nil {
		fail(0, fmt.Errorf("the %v were over", s.limit))
		return
	}
	if _, err := exec.LookPath(peer.program); err != nil {
		fail(0, fmt.Errorf("%s is not installed", peer.program))
		return
	}
	fmt.Fprintf(os.Stderr, "%s with %s names\n", peer.name, workbench.Count(r.count))
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := peer.start(starting, s, r)
	if p != nil {
		defer p.stop()
	}
	if err != nil {
		if starting.Err() != nil {
			err = fmt.Errorf("it did not hold %s names after %v: %w", workbench.Count(r.count), startLimit, err)
		}
		fail(0, err)
		return
	}
	for i, w := range peer.works {
		for range s.runs {
			if err := s.once(ctx, w, p, r, t.row(w)); err != nil {
				fail(i, err)
				return
			}
		}
	}
}

// once runs one load and notes its figures.
func (s *stage) once(ctx context.Context, w work, p *process, r *rooms, to *row) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.seconds*float64(time.Second))+runLimit)
	defer cancel()
	server, load, err := p.spent()
	if err != nil {
		return err
	}
	result, err := w.run(ctx, s, p, r)
	if err != nil {
		return err
	}
	serverAfter, loadAfter, err := p.spent()
	if err != nil {
		return err
	}
	to.add(result, serverAfter-server, loadAfter-load)
	return nil
}

func (s *stage) duration() string {
	return time.Duration(s.seconds * float64(time.Second)).String()
}
