//go:build unix

package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A server that is stopped is not waited for for ever.
func TestStoppedServer(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	all := [][]string{{"dump"}, {"list"}, {"list", "--evicted"}, {"explain", "Foyer"}, {"evict", "Foyer"}, {"allow", "Foyer"}, {"verify"}}
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
