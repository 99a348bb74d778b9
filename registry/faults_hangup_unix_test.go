//go:build unix

package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// SIGHUP does not end a registry that is starting or stopping either, whatever
// it has to read again.
func TestHangupWhileStoppingAndStarting(t *testing.T) {
	t.Parallel()
	for range 5 {
		// The line that startProcess waits for is written before all is ready.
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
