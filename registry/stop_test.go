package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A flood registers rooms with many requests in flight at a time.
type flood struct {
	acknowledged atomic.Int64
	enough       chan struct{} // closed when enough are acknowledged
	once         sync.Once
}

func (f *flood) flow(t *testing.T, addr string, number, enough int, stop <-chan struct{}) {
	const window = 64
	conn := dial(t, addr)
	buf := make([]byte, 2048)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		for i := range window {
			id := n*window + i
			fmt.Fprintf(conn, "@id=%s REGISTER room://f%d.example:%d %d/%d", newID(), number, 1+id%65535, number, id)
		}
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for range window {
			size, err := conn.Read(buf)
			if err != nil {
				break
			}
			if strings.HasSuffix(string(buf[:size]), " OK") && f.acknowledged.Add(1) == int64(enough) {
				f.once.Do(func() { close(f.enough) })
			}
		}
	}
}

// SIGTERM ends a registry cleanly even when it is overloaded: its status is 0,
// and what it has acknowledged is in the file.
func TestStopUnderLoad(t *testing.T) {
	for range 10 {
		store := filepath.Join(t.TempDir(), "rooms.db")
		p := serveProcess(t, store, "127.0.0.1:0")
		f := flood{enough: make(chan struct{})}
		stop := make(chan struct{})
		var flows sync.WaitGroup
		for i := range 16 {
			flows.Go(func() { f.flow(t, p.addr, i, 2000, stop) })
		}
		select {
		case <-f.enough:
		case <-time.After(patience):
			t.Fatal("nothing is answered")
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		ended := p.cmd.Wait()
		close(stop)
		flows.Wait()
		if ended != nil {
			t.Fatalf("after SIGTERM: %v\n%s", ended, p.stderr)
		}
		out, err := registryCommand("dump", "--store", store, "--format", "csv").Output()
		if err != nil {
			t.Fatalf("dump: %v: %s", err, err.(*exec.ExitError).Stderr)
		}
		if rooms := strings.Count(string(out), "\n") - 1; int64(rooms) < f.acknowledged.Load() {
			t.Errorf("%d registrations were acknowledged, %d are there", f.acknowledged.Load(), rooms)
		}
	}
}
