//go:build unix

package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A registry that systemd has started says when it is ready, and goes on saying
// that it lives.
func TestNotifiesSystemd(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	_ = systemd.SetReadDeadline(time.Now().Add(patience))

	c := registryCommand("serve", "--store", filepath.Join(folder, "rooms.db"), "--listen", "127.0.0.1:0", "--http", "off")
	c.Env = append(c.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=100000")
	p, err := startProcess(t, c, (*exec.Cmd).Start)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for i, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		n, err := systemd.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("systemd is told %q, %v, want %q", buf[:n], err, want)
		}
		if i == 0 {
			expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
		}
	}
}
