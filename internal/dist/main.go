// Command dist puts a release together: archives of the programs for Linux, macOS
// and Windows, a Debian package for each architecture, and SHA256SUMS.
//
//	go run ./internal/dist [-only OS/ARCH] [FOLDER]
//
// It releases what is committed, HEAD, from a clone of its own: files that are not
// committed are left out, and neither the folder nor its name make a difference.
// The same commit, tags and version of Go give the same bytes: nothing in them is
// of the time, the machine or the user, and every time is that of the commit.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// targets are the systems that releases are made for.
var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
}

type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

func main() {
	only := flag.String("only", "", "make the files for this `OS/ARCH` only")
	flag.Parse()
	into := "build/dist"
	if flag.NArg() > 0 {
		into = flag.Arg(0)
	}
	chosen := slices.DeleteFunc(slices.Clone(targets), func(t target) bool { return *only != "" && t.String() != *only })
	if len(chosen) == 0 || flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(".", into, chosen); err != nil {
		fmt.Fprintf(os.Stderr, "dist: %v\n", err)
		os.Exit(1)
	}
}

// run makes the release of the repository at repo in the folder into, which it
// empties first.
func run(repo, into string, targets []target) error {
	into, err := filepath.Abs(into)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(into); err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "foyer-dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r, err := prepare(repo, work)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := r.release(t, into); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return writeSums(into)
}

// writeSums writes SHA256SUMS, which `sha256sum --check` reads, and says what has
// been made.
func writeSums(folder string) error {
	entries, err := os.ReadDir(folder) // sorted
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	fmt.Print(sums.String())
	return os.WriteFile(filepath.Join(folder, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
