package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"foyer/admin"
)

// sockets returns how many descriptors of a process are sockets.
func sockets(t *testing.T, pid int) (n int) {
	t.Helper()
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(folder, e.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Two hundred connections with unfinished requests take a bounded number of
// descriptors, are all cut off, and keep nobody out for long.
func TestSlowConnections(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	c := registryCommand("serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = w, os.Stderr
	c.Args = append(c.Args, "--log-level", "error")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p := &process{cmd: c}
	defer p.kill()
	var public string
	in := bufio.NewScanner(out)
	for public == "" && in.Scan() {
		if addr, ok := strings.CutPrefix(in.Text(), "registry: listening on "); ok {
			p.addr = addr
		}
		public, _ = strings.CutPrefix(in.Text(), "registry: http on ")
		if public == in.Text() {
			public = ""
		}
	}
	expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
	for _, place := range []struct {
		network, addr string
		most          int
	}{{"tcp", public, admin.MaxConnsPerHost}, {"unix", store + ".sock", admin.MaxConns}} {
		before := sockets(t, c.Process.Pid)
		conns := make([]net.Conn, 200)
		for i := range conns {
			conn, err := net.Dial(place.network, place.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			request := "GET /v1/rooms HTTP/1.1\r\nHost: x\r\n"
			if i%2 == 1 {
				request += "Content-Length: 1000000\r\n\r\n"
			}
			_, _ = io.WriteString(conn, request) // those beyond the limit may be closed already
			conns[i] = conn
			if n := sockets(t, c.Process.Pid) - before; n > place.most+1 { // one may just be closing
				t.Fatalf("%s: %d connections take %d descriptors", place.network, i+1, n)
			}
		}
		if err := health(t, store); err != nil {
			t.Errorf("%s: /healthz meanwhile: %v", place.network, err)
		}
		expectDump(t, store, 1)
		expect(t, p, " LOOKUP Foyer", "OK")
		for _, conn := range conns {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
				t.Errorf("%s: a connection stays open: %v", place.network, err)
			}
		}
	}
}
