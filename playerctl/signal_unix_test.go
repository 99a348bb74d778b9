//go:build unix

package main

import (
	"io"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A player stopped while the registry is silent fails, without blaming the
// registry.
func TestStoppedBeforeTheRoomIsFound(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGUSR1)
	defer stop()
	var stderr strings.Builder
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"--discovery", silent.LocalAddr().String(), "Alice", "Foyer"}, strings.NewReader(""), io.Discard, &stderr)
	}()
	silent.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, _, err := silent.ReadFrom(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != 1 || stderr.String() != "playerctl: interrupted\n" {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
}
