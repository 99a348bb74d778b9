//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGHUP does not end a registry that is starting or stopping either.
func TestHangupWhileStoppingAndStarting(t *testing.T) {
	t.Parallel()
	for range 5 {
		// The line that startProcess waits for is written before everything is
		// ready.
		p := serveProcess(t, filepath.Join(t.TempDir(), "rooms.db"), "127.0.0.1:0")
		hangups := func() { _ = p.cmd.Process.Signal(syscall.SIGHUP) }
		hangups()
		if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
			t.Errorf("got %q", got)
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		ended := make(chan error)
		go func() { ended <- p.cmd.Wait() }()
		for over := false; !over; {
			hangups()
			select {
			case err := <-ended:
				if over = true; err != nil {
					t.Errorf("after SIGTERM: %v: %s", err, p.stderr)
				}
			case <-time.After(100 * time.Microsecond):
			}
		}
	}
}

// A file of keys that has become a pipe, which might block for ever, does not
// keep a registry from reading it again later.
func TestKeysBecomeAPipe(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	keys := filepath.Join(folder, "keys")
	if err := os.WriteFile(keys, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := registryCommand("serve", "--store", filepath.Join(folder, "rooms.db"), "--listen", "127.0.0.1:0", "--http", "off", "--authorized-keys", keys)
	p, err := startProcess(t, c, func(c *exec.Cmd) error {
		c.Stderr = stderr
		return c.Start()
	})
	stderr.Close()
	if err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(patience, p.kill)
	defer hangs.Stop()
	in := bufio.NewScanner(log)
	await := func(want string) {
		t.Helper()
		for in.Scan() {
			if strings.Contains(in.Text(), want) {
				return
			}
		}
		t.Fatalf("the log ends without %q", want)
	}
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(keys, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Signal(syscall.SIGHUP)
	await("it is not a regular file")
	if err := os.Remove(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Signal(syscall.SIGHUP)
	await("read the authorized keys again")
	fails(t, 1, "not a regular file", "serve", "--store", filepath.Join(folder, "other.db"), "--authorized-keys", folder)
}
