package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"foyer/internal/namespace"
)

// A shortage is a registry that cannot write at times.
type shortage struct {
	*testing.T
	store string
	begin func(*exec.Cmd) error // starts a process
	p     *process
	w     *worker

	n       int
	rooms   map[string]string // acknowledged, by name
	refused []string          // requests that were told `unavailable`
}

func (s *shortage) command() *exec.Cmd {
	return registryCommand("serve", "--store", s.store, "--listen", "127.0.0.1:0", "--http", "off")
}

func (s *shortage) serve() {
	s.Helper()
	p, err := startProcess(s.T, s.command(), s.begin)
	if err != nil {
		s.Fatal(err)
	}
	s.p, s.w = p, &worker{conn: dial(s.T, p.addr)}
}

// register makes one attempt to register a new room and reports whether it was
// acknowledged.
func (s *shortage) register() bool {
	s.Helper()
	s.n++
	name, address := fmt.Sprintf("Room %d", s.n), fmt.Sprintf("room://192.0.2.1:%d", s.n)
	request := "@id=" + newID() + " REGISTER " + address + " " + name
	reply, err := s.w.ask(request)
	switch {
	case err != nil:
		s.Fatal(err)
	case strings.HasSuffix(reply, " OK"):
		s.rooms[name] = address
		return true
	case strings.Contains(reply, "code=unavailable"):
		s.refused = append(s.refused, request)
		return false
	}
	s.Fatalf("%q got %q", request, reply)
	return false
}

// fill registers rooms until the registry cannot write.
func (s *shortage) fill() {
	s.Helper()
	for deadline := time.Now().Add(patience); s.register(); {
		if time.Now().After(deadline) {
			s.Fatalf("%d rooms and no end", len(s.rooms))
		}
	}
}

// recover waits until the registry writes again, by itself.
func (s *shortage) recover() {
	s.Helper()
	for deadline := time.Now().Add(patience); !s.register(); {
		if time.Now().After(deadline) {
			s.Fatalf("it does not write again: %s", s.p.stderr)
		}
		<-time.After(10 * time.Millisecond) // between attempts
	}
}

// check looks up what was acknowledged, all of it, and what was refused.
func (s *shortage) check() {
	s.Helper()
	if len(s.rooms) == 0 {
		s.Error("nothing was acknowledged")
	}
	for name, address := range s.rooms {
		if reply, err := s.w.ask("@id=" + newID() + " LOOKUP " + name); err != nil || !strings.HasSuffix(reply, " OK "+address) {
			s.Fatalf("the look-up of %s got %q, %v", name, reply, err)
		}
	}
	for _, request := range s.refused {
		name := request[strings.Index(request, "Room "):]
		if reply, err := s.w.ask("@id=" + newID() + " LOOKUP " + name); err != nil || !strings.Contains(reply, "code=unknown-name") {
			s.Fatalf("the look-up of %s, which was refused, got %q, %v", name, reply, err)
		}
	}
}

// retry repeats the very requests that were refused: nothing was recorded of
// them, so now they take effect.
func (s *shortage) retry() {
	s.Helper()
	for _, request := range s.refused {
		reply, err := s.w.ask(request)
		if err != nil || !strings.HasSuffix(reply, " OK") {
			s.Fatalf("the retry of %q got %q, %v", request, reply, err)
		}
		fields := strings.Fields(request)
		s.rooms[request[strings.Index(request, "Room "):]] = fields[2]
	}
	s.refused = nil
}

// healthy compares the health that the registry shows.
func (s *shortage) healthy(want int) {
	s.Helper()
	// Through the registry's own root: its file system may not be seen from here.
	client := newAdminClient(fmt.Sprintf("/proc/%d/root%s.sock", s.p.cmd.Process.Pid, s.store)).http
	client.Timeout = patience
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://registry/healthz")
	if err != nil {
		s.Error(err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		s.Errorf("/healthz is %d, want %d", resp.StatusCode, want)
	}
}

// run runs one of the registry's tools where the registry runs.
func (s *shortage) run(args ...string) string {
	s.Helper()
	c := registryCommand(args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := s.begin(c); err != nil {
		s.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		s.Errorf("registry %q: %v: %s", args, err, &errs)
	}
	return out.String()
}

// restart kills the registry and starts it anew.
func (s *shortage) restart() {
	s.Helper()
	s.p.kill()
	s.serve()
}

// stop ends the registry in good order and verifies its file.
func (s *shortage) stop() {
	s.Helper()
	_ = s.p.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.p.cmd.Wait(); err != nil {
		s.Errorf("after SIGTERM: %v: %s", err, s.p.stderr)
	}
	s.run("verify", "--store", s.store)
}

// TestFullDisk fills the file system of a registry. Nothing is acknowledged
// that is not there afterwards, nothing refused that is; look-ups go on, and
// writing resumes when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	n := namespace.NewMounts(t)
	n.MountTmpfs(t, disk, 2<<20)
	ballast := filepath.Join(disk, "ballast")
	s := &shortage{T: t, store: filepath.Join(disk, "rooms.db"), begin: n.Start, rooms: map[string]string{}}
	s.serve()
	for range 20 {
		s.register()
	}
	for round := range 3 {
		s.healthy(http.StatusOK)
		if err := n.Do(func() error { return fillDisk(ballast) }); err != nil {
			t.Fatal(err)
		}
		s.fill()
		s.healthy(http.StatusServiceUnavailable)
		s.check()
		switch round {
		case 0: // a new database cannot begin there
			c := registryCommand("serve", "--store", filepath.Join(disk, "new.db"), "--listen", "127.0.0.1:0", "--http", "off")
			p, err := startProcess(t, c, n.Start)
			if err == nil || c.ProcessState.ExitCode() != 1 || !oneLine(p.stderr.String()) || !strings.Contains(p.stderr.String(), "no space left") {
				t.Errorf("a new database on a full disk: %v", err)
			}
		case 1: // but the old one can be opened
			s.restart()
			s.check()
		}
		if err := n.Do(func() error { return os.Remove(ballast) }); err != nil {
			t.Fatal(err)
		}
		s.recover()
		s.healthy(http.StatusOK)
		s.check()
		s.retry()
		s.restart()
		s.check()
	}
	s.stop()
	var left []string
	if err := n.Do(func() error {
		entries, err := os.ReadDir(disk)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		return err
	}); err != nil || !slices.Equal(left, []string{"rooms.db"}) {
		t.Errorf("on the disk is %q, %v", left, err)
	}
}

// fillDisk writes a file until there is no space left.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// TestReadOnlyDisk has the file system of a registry turn read-only. Linux does
// not do that under a file that is open for writing; so first the registry may
// not make the file longer, and may not open it again.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	n := namespace.NewMounts(t)
	n.MountTmpfs(t, disk, 8<<20)
	s := &shortage{T: t, store: filepath.Join(disk, "rooms.db"), begin: n.Start, rooms: map[string]string{}}
	s.serve()
	for range 20 {
		s.register()
	}
	files := s.limit(unix.RLIMIT_NOFILE, 3)
	size := s.limit(unix.RLIMIT_FSIZE, 1)
	s.fill()
	if err := n.RemountTmpfs(disk, true); err != nil {
		t.Fatal(err)
	}
	s.limit(unix.RLIMIT_NOFILE, files)
	s.limit(unix.RLIMIT_FSIZE, size)
	for range 5 {
		s.fill()
		s.check()
	}
	s.healthy(http.StatusServiceUnavailable)
	s.p.kill()
	if got := strings.Count(s.run("dump", "--store", s.store, "--format", "csv"), "\n"); got != 1+len(s.rooms) {
		t.Errorf("the dump from a read-only disk has %d lines, want %d", got, 1+len(s.rooms))
	}
	s.run("verify", "--store", s.store)
	p, err := startProcess(t, s.command(), s.begin)
	if err == nil || p.cmd.ProcessState.ExitCode() != 1 || !oneLine(p.stderr.String()) || !strings.Contains(p.stderr.String(), "read-only") {
		t.Errorf("started on a read-only disk: %v", err)
	}
	if err := n.RemountTmpfs(disk, false); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.check()
	s.retry()
	s.stop()
}

// TestLimits takes away from a running registry what the system may refuse it,
// longer files and more files, and gives it back.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := &shortage{T: t, store: filepath.Join(t.TempDir(), "rooms.db"), begin: (*exec.Cmd).Start, rooms: map[string]string{}}
	s.serve()
	for range 20 {
		s.register()
	}
	for range 3 {
		files := s.limit(unix.RLIMIT_NOFILE, 3)
		size := s.limit(unix.RLIMIT_FSIZE, 1)
		s.fill()
		s.check()
		s.limit(unix.RLIMIT_FSIZE, size)
		s.fill() // it has no file any more
		s.check()
		s.limit(unix.RLIMIT_NOFILE, files)
		s.recover()
		s.healthy(http.StatusOK)
		s.retry()
		s.restart()
		s.check()
	}
	s.stop()
}

// limit sets one of the registry's limits and returns what it was.
func (s *shortage) limit(resource int, n uint64) (before uint64) {
	s.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(s.p.cmd.Process.Pid, resource, nil, &old); err != nil {
		s.Fatal(err)
	}
	if err := unix.Prlimit(s.p.cmd.Process.Pid, resource, &unix.Rlimit{Cur: n, Max: old.Max}, nil); err != nil {
		s.Fatal(err)
	}
	return old.Cur
}
