//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullPipe returns a full pipe that nobody reads.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	for _, size := range []int{4096, 1} {
		_ = w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		for err = nil; err == nil; {
			_, err = w.Write(make([]byte, size))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return r, w
}

// health asks the admin interface of the registry on store, as its tools do.
func health(t *testing.T, store string) error {
	t.Helper()
	body, err := newAdminClient(store+".sock").do(t.Context(), http.MethodGet, "/healthz", nil)
	if err == nil {
		body.Close()
	}
	return err
}

// A registry whose standard error is a full pipe goes on, and ends cleanly.
// What it had to say is there when the pipe is read again.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	const rooms = 100
	for _, reader := range []string{"reads again", "stays stuck", "is gone"} {
		readAgain := reader == "reads again"
		store := filepath.Join(t.TempDir(), "rooms.db")
		stderr, full := fullPipe(t)
		c := registryCommand("serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "off", "--log-level", "debug")
		p, err := startProcess(t, c, func(c *exec.Cmd) error {
			c.Stderr = full
			return c.Start()
		})
		if err != nil {
			t.Fatal(err)
		}
		if full.Close(); reader == "is gone" {
			stderr.Close()
		}
		w := &worker{conn: dial(t, p.addr)}
		for i := range rooms {
			for _, line := range []string{
				fmt.Sprintf(" REGISTER room://127.0.0.1:%d Room %d", i+1, i), fmt.Sprintf(" LOOKUP Room %d", i), fmt.Sprintf(" DEREGISTER Room %d", i),
			} {
				if reply, err := w.ask("@id=" + newID() + line); err != nil || !strings.Contains(reply, " OK") {
					t.Fatalf("the reader %s: %q got %q, %v", reader, line, reply, err)
				}
			}
		}
		if err := health(t, store); err != nil {
			t.Errorf("the reader %s: /healthz: %v", reader, err)
		}
		log := make(chan string, 1)
		if readAgain {
			go func() {
				text, _ := io.ReadAll(stderr)
				log <- strings.TrimLeft(string(text), "\x00")
			}()
		}
		hangs := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("the reader %s: after SIGTERM: %v", reader, err)
		}
		hangs.Stop()
		if readAgain {
			if text := <-log; !strings.Contains(text, "msg=serving") || !strings.Contains(text, "msg=registered") || !strings.Contains(text, "msg=stopped") {
				t.Errorf("the log is\n%s", text)
			}
		}
	}
}

// Nor does a registry wait for the reader of its standard output, which may be
// that of its standard error (2>&1): it answers, and ends cleanly.
func TestStuckOutput(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		store := filepath.Join(t.TempDir(), "rooms.db")
		_, full := fullPipe(t)
		log, stderr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		c := registryCommand("serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "off")
		c.Stdout, c.Stderr = full, stderr
		if both {
			c.Stderr = full
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		stderr.Close()
		hangs := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		p := &process{cmd: c, stderr: new(strings.Builder)}
		if both {
			awaitHealth(t, store, true)
		} else {
			line, err := bufio.NewReader(log).ReadString('\n')
			_, listen, ok := strings.Cut(line, "msg=serving listen=")
			if !ok {
				t.Fatalf("the log begins with %q, %v", line, err)
			}
			p.addr, _, _ = strings.Cut(listen, " ")
			expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
			expectDump(t, store, 1)
		}
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("both %v: after SIGTERM: %v", both, err)
		}
		hangs.Stop()
	}
}
