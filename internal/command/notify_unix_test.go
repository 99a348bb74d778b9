//go:build unix

package command_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"foyer/internal/command"
)

// A systemd hears what services say.
func systemd(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// A service is ready, lives as long as the part that matters answers, and stops.
func TestNotifyReady(t *testing.T) {
	next := systemd(t)
	t.Setenv("WATCHDOG_USEC", "2000")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked atomic.Int64
	command.NotifyReady(ctx, func(context.Context) error {
		if asked.Add(1) < 5 {
			return errors.New("stuck")
		}
		return nil
	})
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Fatalf("systemd is told %q, want %q", got, want)
		}
	}
	if n := asked.Load(); n < 6 {
		t.Errorf("it counted as alive %d pings after the beginning, four of which failed", n)
	}
	stop()
	for got := ""; got != "STOPPING=1"; {
		if got = next(); got != "STOPPING=1" && got != "WATCHDOG=1" {
			t.Fatalf("systemd is told %q", got)
		}
	}
}

// Without WatchdogSec nothing is asked.
func TestNotifyReadyWithoutWatchdog(t *testing.T) {
	next := systemd(t)
	ctx, stop := context.WithCancel(t.Context())
	command.NotifyReady(ctx, func(context.Context) error {
		t.Error("asked")
		return nil
	})
	if got := next(); got != "READY=1" {
		t.Errorf("systemd is told %q", got)
	}
	stop()
	if got := next(); got != "STOPPING=1" {
		t.Errorf("systemd is told %q", got)
	}
}
