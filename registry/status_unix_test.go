//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// registry status tells how a registry is doing, with its exit status as well, and what
// is in the file when none is running.
func TestStatus(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	fails(t, 1, "no such file or directory; --store says where", "status", "--store", store)
	fails(t, 2, "--format", "status", "--store", store, "--format", "csv")
	p := serveProcess(t, store, "127.0.0.1:0")
	for _, line := range []string{";ttl=60 REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://127.0.0.1:2 Hall"} {
		if got := request(t, p, line); got != "OK" {
			t.Fatal(got)
		}
	}
	if _, stderr, status := output("evict", "--store", store, "--for", "1h", "Attic"); status != 0 {
		t.Fatal(stderr)
	}
	ask := func(status int, problem string, want ...string) (fields map[string]any) {
		t.Helper()
		stdout, stderr, got := output("status", "--store", store)
		if problem != "" {
			problem = "registry: " + problem + "\n"
		}
		if got != status || stderr != problem {
			t.Errorf("status %d, %q; want %d, %q", got, stderr, status, problem)
		}
		for _, w := range want {
			if !strings.Contains(stdout, w) {
				t.Errorf("%s lacks %q", stdout, w)
			}
		}
		stdout, _, got = output("status", "--store", store, "--format", "json")
		if err := json.Unmarshal([]byte(stdout), &fields); err != nil || got != status {
			t.Errorf("status %d, %s: %v", got, stdout, err)
		}
		return fields
	}
	expect := func(fields map[string]any, want map[string]any) {
		t.Helper()
		for k, v := range want {
			if fields[k] != v {
				t.Errorf("%s is %v, want %v", k, fields[k], v)
			}
		}
	}
	expect(ask(0, "", "health     ready\n", "rooms      2, of them with a lease 1\n", "holds      1\n", "watchers   0\n", "listening  "+p.addr+"\n", "uptime     ", "version    ",
		"file       "+store+": "),
		map[string]any{"running": true, "ready": true, "rooms": 2., "leases": 1., "holds": 1.})

	const problem = "the store cannot be written"
	content, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return !statusOf(t, store).Ready })
	expect(ask(1, problem, "health     not ready: "+problem+"\n", "rooms      2,"), map[string]any{"running": true, "ready": false, "problem": problem})
	p.kill()
	if err := os.WriteFile(store, content, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(ask(1, "no registry is running on "+store, "health     not running\n", "rooms      2, of them with a lease 1\n", "holds      1\n", "file       "+store+": "),
		map[string]any{"running": false, "ready": false, "rooms": 2., "leases": 1., "holds": 1., "version": nil})
}

// list tells of a running registry how long leases still run, and when rooms were heard.
func TestListTellsLeases(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	for _, line := range []string{";ttl=3600 REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://127.0.0.1:2 Hall"} {
		if got := request(t, p, line); got != "OK" {
			t.Fatal(got)
		}
	}
	const columns = "%-24s  %-24s  %-24s  "
	hall := fmt.Sprintf(columns+"-", "Hall", "room://127.0.0.1:2", "-")
	head := fmt.Sprintf(columns+"HEARD", "NAME", "ADDRESS", "LEASE")
	succeeds(t, []string{head, fmt.Sprintf("%-24s  %-24s  ", "Foyer", "room://127.0.0.1:1"), hall}, "list", "--store", store)
	stdout, _, _ := output("list", "--store", store, "Foyer")
	fields := strings.Fields(strings.Split(stdout, "\n")[1])
	lease, err := time.ParseDuration(fields[2])
	if err != nil || lease < time.Hour-2*patience || lease > time.Hour || fields[4] != "ago" {
		t.Errorf("list printed %q", stdout)
	}
	p.stop(t)
	succeeds(t, []string{head, fmt.Sprintf(columns+"-", "Foyer", "room://127.0.0.1:1", "-"), hall}, "list", "--store", store)
}

func TestVersion(t *testing.T) {
	long, _, _ := output("--version")
	if stdout, stderr, status := output("version"); status != 0 || stderr != "" || stdout != long || !strings.HasPrefix(stdout, "registry ") {
		t.Errorf("status %d, %q, %q; --version prints %q", status, stdout, stderr, long)
	}
}
