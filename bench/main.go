//go:build linux

// Command bench measures the registry against the floor: what a C program that
// only sends datagrams back does on the same machine, in the same run, under the
// same load (floor/floor.c). The server has one core and the load another one.
//
//	go run ./bench [-against REV] [-runs 5] [-seconds 1] [-names 1000000] [-only WORD]
//
// Every row is the median of its runs, in which floor and registry take turns;
// what counts is the ratio. With -against the registry of an earlier revision
// takes its turns, too, under the load of this one. docs/performance.md explains
// the rows.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"foyer/internal/workbench"
)

func main() {
	if path := os.Getenv(walkVariable); path != "" {
		if err := walk(path); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var b bench
	flag.StringVar(&b.against, "against", "", "also measure the registry of this `revision`, in turns (anything that git archive takes)")
	flag.IntVar(&b.runs, "runs", 5, "runs of each row")
	flag.Float64Var(&b.seconds, "seconds", 1, "length of a run")
	flag.Uint64Var(&b.names, "names", 1_000_000, "rooms in the large store")
	flag.StringVar(&b.only, "only", "", "only rows whose name has this `word` in it")
	flag.StringVar(&b.dir, "dir", "", "`folder` for the databases (default: the system's for temporary files); its disk is what is measured")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), `usage: go run ./bench [flags], at the root of the repository

Measures the registry and prints a table. Takes some three minutes, with -against
four, and wants git, gcc and two cores with nothing else to do.

`)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	against string
	runs    int
	seconds float64
	names   uint64
	only    string
	dir     string

	bin      workbench.Programs // floor, and the registry that is the load of all
	floor    *workbench.Server
	subjects []*subject
}

// A subject is a registry that is measured: of the earlier revision, if there is
// one, and last of the working tree.
type subject struct {
	name string
	bin  workbench.Programs
	dir  string // of its databases

	small, large *workbench.Server
	stores       int                // empty stores it had
	ratios       map[string]float64 // to the floor, by row
	wrote, made  float64            // bytes, for how many registrations
}

func (b *bench) main(ctx context.Context) (err error) {
	bin, err := os.MkdirTemp("", "foyer-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	b.bin = workbench.Programs(bin)
	if b.dir, err = os.MkdirTemp(b.dir, "foyer-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.build(ctx); err != nil {
		return err
	}
	if b.floor, err = b.bin.Start(ctx, workbench.ServerCPU, "floor", "0"); err != nil {
		return err
	}
	defer b.floor.Stop()
	fmt.Printf("%s\n%d runs of %.1f s, medians (least to most)\n\n", workbench.Machine(), b.runs, b.seconds)
	b.printHead()
	for _, step := range []func(context.Context) error{b.small, b.empty, b.large} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build builds what is measured.
func (b *bench) build(ctx context.Context) error {
	if err := b.bin.Build(ctx); err != nil {
		return err
	}
	if err := workbench.Run(ctx, "gcc", "-O2", "-o", filepath.Join(string(b.bin), "floor"), "bench/floor/floor.c"); err != nil {
		return err
	}
	if b.against != "" {
		bin, err := b.buildRevision(ctx)
		if err != nil {
			return err
		}
		if err := b.add(b.against, bin); err != nil {
			return err
		}
	}
	return b.add("registry", b.bin)
}

func (b *bench) add(name string, bin workbench.Programs) error {
	s := &subject{name: name, bin: bin, ratios: map[string]float64{}}
	var err error
	s.dir, err = os.MkdirTemp(b.dir, "")
	b.subjects = append(b.subjects, s)
	return err
}

// buildRevision builds the registry of the earlier revision from its own sources.
func (b *bench) buildRevision(ctx context.Context) (workbench.Programs, error) {
	dir := filepath.Join(string(b.bin), "earlier")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	archive := dir + ".tar"
	if err := workbench.Run(ctx, "git", "archive", "-o", archive, b.against); err != nil {
		return "", err
	}
	if err := workbench.Run(ctx, "tar", "-xf", archive, "-C", dir); err != nil {
		return "", err
	}
	bin := workbench.Programs(filepath.Join(dir, "bin"))
	return bin, workbench.Run(ctx, "go", "-C", dir, "build", "-o", string(bin)+"/", "./registry")
}

// wanted reports whether any of the rows is asked for.
func (b *bench) wanted(rows ...string) bool {
	for _, row := range rows {
		if strings.Contains(row, b.only) {
			return true
		}
	}
	return false
}
