package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"foyer/internal/namespace"
	"foyer/internal/testenv"
)

// Whatever is killed in the middle of a backup, of compacting and of a restoration,
// the tool or the registry, there is the old file or the new one, whole.
func TestKilledAmidBackups(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	folder := t.TempDir()
	store, file := filepath.Join(folder, "rooms.db"), filepath.Join(t.TempDir(), "backup.db")
	at := func(args ...string) []string { return append(args, "--store", store) }
	p := serveProcess(t, store, "127.0.0.1:0")
	l := newWriters(t, p.addr, 4)
	waitFor(t, "some rooms", func() bool { return len(l.rooms()) > 300 })
	l.stop()
	want := l.rooms()
	check := func(path, what string) {
		t.Helper()
		if got := rowsIn(t, path); !maps.Equal(got, want) {
			t.Fatalf("%s: %s has %d rooms, not %d", what, path, len(got), len(want))
		}
		succeed(t, "verify", "--store", path)
	}
	succeed(t, at("backup", file)...)
	// interrupted runs a tool and kills it, or the registry, amid what it does.
	longest := time.Second
	interrupted := func(server bool, args ...string) {
		c := registryCommand(at(args...)...)
		began := time.Now()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case <-time.After(time.Duration(random.Int64N(int64(longest)))): // a random moment
			if server {
				p.kill()
				p = serveProcess(t, store, p.addr)
			} else {
				_ = c.Process.Kill()
			}
			<-ended
		case <-ended:
			longest = time.Since(began)
		}
	}
	for range 8 {
		interrupted(false, "backup", file)
		check(file, "the tool was killed amid a backup")
		interrupted(true, "backup", file)
		check(file, "the registry was killed amid a backup")
		check(store, "the same")
		interrupted(false, "compact")
		check(store, "the tool was killed while it compacted")
		interrupted(true, "compact")
		check(store, "the registry was killed while it compacted")
	}
	p.kill()
	p = serveProcess(t, store, p.addr)
	nothingBeside(t, store, "rooms.db.sock")
	p.stop(t)
	for range 8 {
		interrupted(false, "compact")
		check(store, "the tool was killed while it compacted the file")
		interrupted(false, "restore", file)
		check(store, "the tool was killed amid a restoration")
	}
	kept, err := filepath.Glob(store + ".before-restore-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range kept {
		check(path, "what was there before")
	}
	serveProcess(t, store, "127.0.0.1:0").stop(t) // removes what is left
	nothingBeside(t, store, "rooms.db.before-restore-")
}

// A disk that is full, at the beginning or on the way, leaves what was there, and no
// half file; a registry that runs does not notice.
func TestFullDiskAmidBackups(t *testing.T) {
	t.Parallel()
	disk, small := t.TempDir(), t.TempDir()
	n := namespace.NewMounts(t)
	n.MountTmpfs(t, disk, 80<<20)
	n.MountTmpfs(t, small, 1<<19)
	s := &shortage{T: t, store: filepath.Join(disk, "rooms.db"), begin: n.Start, rooms: map[string]string{}}
	s.serve()
	for range 2000 {
		s.register()
	}
	file := filepath.Join(disk, "backup.db")
	s.run("backup", file, "--store", s.store)
	refused := func(want string, args ...string) {
		t.Helper()
		c := registryCommand(append(args, "--store", s.store)...)
		var errs strings.Builder
		c.Stderr = &errs
		if err := n.Start(c); err != nil {
			t.Fatal(err)
		}
		if _ = c.Wait(); c.ProcessState.ExitCode() != 1 || !oneLine(errs.String()) || !strings.Contains(errs.String(), want) {
			t.Errorf("registry %q: status %d, %q; want %q", args, c.ProcessState.ExitCode(), errs.String(), want)
		}
	}
	left := func(folder string, want ...string) {
		t.Helper()
		if err := n.Do(func() error {
			entries, err := os.ReadDir(folder)
			for _, e := range entries {
				known := false
				for _, w := range want {
					known = known || e.Name() == w
				}
				if !known {
					err = errors.Join(err, fmt.Errorf("left behind: %s", e.Name()))
				}
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	// The disk of the backup is full.
	tiny := filepath.Join(small, "backup.db")
	if err := n.Do(func() error { return os.WriteFile(tiny, []byte("older"), 0o600) }); err != nil {
		t.Fatal(err)
	}
	refused("no space left on device", "backup", tiny)
	left(small, "backup.db")
	if err := n.Do(func() error {
		if b, err := os.ReadFile(tiny); string(b) != "older" {
			return fmt.Errorf("the older backup: %q, %w", b, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	// That of the database has no place for a copy.
	ballast := filepath.Join(disk, "ballast")
	if err := n.Do(func() error { return os.WriteFile(ballast, make([]byte, 20<<20), 0o600) }); err != nil {
		t.Fatal(err)
	}
	refused("must be left", "compact")
	refused("must be left", "backup", file)
	left(disk, "rooms.db", "rooms.db.sock", "backup.db", "ballast")
	s.check()
	if !s.register() {
		t.Error("the registry cannot write")
	}
	// There is none at all.
	_ = s.p.cmd.Process.Signal(os.Interrupt)
	if err := s.p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := n.Do(func() error { return fillDisk(ballast + "2") }); err != nil {
		t.Fatal(err)
	}
	refused("no space left on device", "restore", file)
	refused("must be left", "compact")
	left(disk, "rooms.db", "backup.db", "ballast", "ballast2")
	if err := n.Do(func() error { return os.Remove(ballast + "2") }); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.check()
	s.stop()
}
