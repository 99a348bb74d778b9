//go:build unix

package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A room that systemd has started says that it is ready when it is registered,
// and goes on saying that it lives.
func TestNotifiesSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	_ = systemd.SetReadDeadline(time.Now().Add(time.Minute))
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")

	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "Foyer", "A hall.")
	buf := make([]byte, 100)
	for _, want := range []string{"READY=1", "WATCHDOG=1"} {
		n, err := systemd.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("systemd is told %q, %v, want %q", buf[:n], err, want)
		}
		if _, err := lookup(t, r, "Foyer"); err != nil {
			t.Errorf("told %s, but %v", want, err)
		}
	}
	p.interrupt()
	p.wait(0)
}
