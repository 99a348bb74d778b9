//go:build unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTakeover kills and restarts a room again and again. Each time it has its
// name back within a second, on its new port; meanwhile nobody else gets it.
func TestTakeover(t *testing.T) {
	t.Parallel()
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	run := func(name string, args ...string) *program {
		t.Helper()
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "HOME="+work, "XDG_STATE_HOME="+filepath.Join(work, "state"))
		p, err := launch(cmd, cmd.Start)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-p.ended
		})
		return p
	}
	registry := run("registry", "serve", "--listen", "127.0.0.1:0", "--http", "off").expect(t, listening)
	lookup := func() string {
		out, err := exec.Command(filepath.Join(dir, "registry"), "lookup", "--discovery", registry, "Hall").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	hall := regexp.MustCompile(`(?m)^roomd: Hall listening on (\S+)$`)
	quickest, last := time.Hour, ""
	for range 5 {
		began := time.Now()
		room := run("roomd", "--discovery", registry, "Hall", "It echoes.")
		address := room.expect(t, hall)
		took := time.Since(began)
		t.Logf("registered after %v", took)
		if last != "" {
			quickest = min(quickest, took)
		}
		if got := lookup(); got != address || address == last {
			t.Errorf("looked up at %s, want %s, after %s", got, address, last)
		}
		last = address
		_ = room.cmd.Process.Signal(syscall.SIGKILL)
		<-room.ended
		impostor := run("roomd", "--discovery", registry, "--state", "elsewhere", "Hall", "It is false.")
		impostor.ends(t, 1)
		if got := lookup(); got != address {
			t.Errorf("with an impostor about, looked up at %s, want %s", got, address)
		}
	}
	// At least one of them must have been in time: the machine may be busy.
	if quickest > time.Second {
		t.Errorf("no room had its name back within a second, the quickest after %v", quickest)
	}
}

// A judge is a test, or a part of one.
type judge interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ends waits for a program's end and checks its status.
func (p *program) ends(t judge, status int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end; it wrote:\n%s", p.cmd, p.written())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("%s ended with %d, not %d; it wrote:\n%s", p.cmd, got, status, p.written())
	}
}

func (p *program) written() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.both.String()
}

func (p *program) await(t judge, expr string) {
	t.Helper()
	p.expect(t, regexp.MustCompile("(?m)"+expr))
}
