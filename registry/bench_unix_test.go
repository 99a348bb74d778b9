//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stoppedBench runs bench until it measures, and ends it with a signal.
func stoppedBench(t *testing.T, store, addr string, stdout, stderr *os.File, signal os.Signal) *os.ProcessState {
	t.Helper()
	c := registryCommand("bench", "--discovery", addr, "--names", "100", "--duration", "10m", "--work", "register", "--rate", "500")
	if stdout != nil {
		c.Stdout = stdout
	}
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer hangs.Stop()
	waitForCount(t, store, 100)
	_ = c.Process.Signal(signal)
	_ = c.Wait()
	return c.ProcessState
}

// A bench deregisters its rooms even when its terminal is closed, and when the
// reader of its output has gone, which Ctrl-C may end first.
func TestBenchCleansUpWithoutReaderOrTerminal(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	r, unread, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	r.Close()
	for _, c := range []struct {
		stdout *os.File
		signal os.Signal
		want   string
	}{
		{nil, syscall.SIGHUP, "registry: interrupted\n"},
		{unread, os.Interrupt, "broken pipe\n"},
		{unread, syscall.SIGHUP, "broken pipe\n"},
	} {
		said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		state := stoppedBench(t, store, p.addr, c.stdout, said, c.signal)
		said.Close()
		text, _ := os.ReadFile(said.Name())
		if state.ExitCode() != 1 || strings.Count(string(text), "\n") != 1 || !strings.HasSuffix(string(text), c.want) {
			t.Errorf("%v: %v, %q, want %q", c.signal, state, text, c.want)
		}
		if left := rooms(t, store); len(left) != 0 {
			t.Errorf("%v: %d rooms are left", c.signal, len(left))
		}
	}
	// Standard error has no reader either, as after 2>&1 into a pipe.
	if stoppedBench(t, store, p.addr, unread, unread, os.Interrupt); len(rooms(t, store)) != 0 {
		t.Errorf("%d rooms are left", len(rooms(t, store)))
	}
	p.stop(t)
}
