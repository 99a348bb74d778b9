//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// awaitHealth waits until /healthz says what is wanted, while nobody writes.
func awaitHealth(t *testing.T, store string, healthy bool) {
	t.Helper()
	for late := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		if err := health(t, store); (err == nil) == healthy {
			return
		} else if time.Now().After(late) {
			t.Fatalf("/healthz still says %v", err)
		}
	}
}

func expect(t *testing.T, p *process, line, want string) {
	t.Helper()
	if got := request(t, p, line); !strings.HasPrefix(got, want) {
		t.Errorf("%q got %q, want %q", line, got, want)
	}
}

// expectDump expects the rooms of a dump, as the running registry knows them.
func expectDump(t *testing.T, store string, rooms int) {
	t.Helper()
	stdout, stderr, status := output("dump", "--store", store, "--format", "json")
	if status != 0 || strings.Count(stdout, "\n") != rooms {
		t.Errorf("dump: status %d, %q, %s; want %d rooms", status, stdout, stderr, rooms)
	}
}

// A database that is removed is noticed though nobody writes; what was
// registered is shown as long as the registry runs, which then says what is lost.
func TestRemovedDatabase(t *testing.T) {
	t.Parallel()
	for _, replaced := range []bool{false, true} {
		store := filepath.Join(t.TempDir(), "rooms.db")
		p := serveProcess(t, store, "127.0.0.1:0")
		expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
		if err := os.Remove(store); err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := os.WriteFile(store, []byte("another file"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		awaitHealth(t, store, false)
		for _, line := range []string{" REGISTER room://127.0.0.1:2 Hall", " DEREGISTER Foyer"} {
			if got := request(t, p, line); !strings.Contains(got, "nothing was changed") {
				t.Errorf("%q got %q", line, got)
			}
		}
		expect(t, p, " LOOKUP Foyer", "OK room://127.0.0.1:1")
		expect(t, p, " LOOKUP Hall", "NOTOK")
		expectDump(t, store, 1)
		fails(t, 1, "nothing to copy: the database was removed or replaced", "verify", "--store", store)
		if left := copies(t, store); len(left) != 0 {
			t.Errorf("verify leaves %q", left)
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
		log := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
		if status, last := p.cmd.ProcessState.ExitCode(), log[len(log)-1]; status != 1 || !strings.Contains(last, "what was registered is lost") {
			t.Errorf("after SIGTERM: status %d, %s", status, last)
		}
		if n := strings.Count(p.stderr.String(), "level=ERROR"); n != 1 || !strings.Contains(p.stderr.String(), "registry dump") {
			t.Errorf("the log has %d errors, want one that says what to do:\n%s", n, p.stderr)
		}
		if text, err := os.ReadFile(store); replaced != (err == nil) || replaced && string(text) != "another file" {
			t.Errorf("in its place there is now %q, %v", text, err)
		}
	}
}

// What was only moved can be put back.
func TestDatabaseThatComesBack(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
	if err := os.Rename(store, store+".away"); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, store, false)
	if err := os.Rename(store+".away", store); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, store, true)
	expect(t, p, " REGISTER room://127.0.0.1:2 Hall", "OK")
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil || !strings.Contains(p.stderr.String(), "writing to the store again") {
		t.Errorf("after SIGTERM: %v: %s", err, p.stderr)
	}
	expectDump(t, store, 2)
}

// A second registry takes neither the socket nor the place of one whose database
// was removed, even if that one is stopped.
func TestSecondRegistryAfterRemoval(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	expect(t, p, " REGISTER room://127.0.0.1:1 Foyer", "OK")
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	second := []string{"serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "off"}
	refused := func() {
		t.Helper()
		fails(t, 1, "a registry that still runs listens on "+store+".sock, and its database was removed", second...)
	}
	refused()
	p.suspend(t)
	refused()
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	if _, err := os.Stat(store); err == nil {
		t.Error("the second registry made a database")
	}
	expectDump(t, store, 1)

	// With a database of its own there it is no different.
	other := serveProcess(t, store+".other", "127.0.0.1:0")
	_ = other.cmd.Process.Signal(syscall.SIGTERM)
	_ = other.cmd.Wait()
	if err := os.Rename(store+".other", store); err != nil {
		t.Fatal(err)
	}
	refused()
	expectDump(t, store, 1)

	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	third := serveProcess(t, store, "127.0.0.1:0")
	expectDump(t, store, 0)
	third.kill()
}

// On its end a registry leaves a socket alone that is not its own.
func TestSocketOfAnother(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if err := os.Remove(store + ".sock"); err != nil {
		t.Fatal(err)
	}
	l, err := listenSocket(store + ".sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = http.Serve(l, http.NotFoundHandler()) }()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v: %s", err, p.stderr)
	}
	if _, err := os.Lstat(store + ".sock"); err != nil {
		t.Error(err)
	}
}
