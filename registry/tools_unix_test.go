//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// suspend stops a registry as SIGSTOP does, and waits until none of its threads runs any
// more, which takes a while on a machine that is busy.
func (p *process) suspend(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); {
		case err == nil && status.Stopped():
			return
		case err != syscall.EINTR:
			t.Fatalf("waiting for it to stop: %v, %v", status, err)
		}
	}
}

// The tools do not wait for a suspended server for ever.
func TestStoppedServer(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	p.suspend(t)
	all := [][]string{{"dump"}, {"list"}, {"list", "--evicted"}, {"explain", "Foyer"}, {"evict", "Foyer"}, {"allow", "Foyer"}, {"verify"}, {"status"}, {"watch"}, {"import", writeFile(t, t.TempDir(), "dump", dumpOfOne)}}
	done := make(chan struct{})
	for _, args := range all { // side by side: each takes ten seconds
		go func() {
			defer func() { done <- struct{}{} }()
			fails(t, 1, "did not answer within 10s: it is stopped or stuck", append(args, "--store", store)...)
		}()
	}
	for range all {
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("a tool waits for a stopped server")
		}
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	p.stop(t)
}

// The tools find the registry through symbolic links even when its file has
// been removed, and a registry creates the file that a link leads to.
func TestLinkToNoFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "real/deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"first.db": "second.db", "second.db": "folder/../rooms.db", "folder": "real/deep", "loop.db": "loop.db",
		"third.db": filepath.Join(folder, "first.db"),
	} {
		if err := os.Symlink(target, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	link, file := filepath.Join(folder, "third.db"), filepath.Join(folder, "real/rooms.db")
	p := serveProcess(t, link, "127.0.0.1:0")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, store := range []string{link, file} {
		succeeds(t, []string{"Foyer"}, "dump", "--format", "json", "--store", store)
		succeeds(t, []string{"NAME", "Foyer"}, "list", "--store", store)
	}
	p.kill()
	fails(t, 1, "no such file or directory", "dump", "--store", link)
	fails(t, 1, "too many", "dump", "--store", filepath.Join(folder, "loop.db"))
}
