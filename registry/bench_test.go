package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"foyer/discovery"
)

// rooms returns what is registered.
func rooms(t *testing.T, store string) (rows []discovery.Row) {
	t.Helper()
	stdout, stderr, status := output("dump", "--format", "json", "--store", store)
	if status != 0 {
		t.Fatalf("dump: status %d, %s", status, stderr)
	}
	for line := range strings.Lines(stdout) {
		var row discovery.Row
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func waitForRooms(t *testing.T, store string, enough func([]discovery.Row) bool) (rows []discovery.Row) {
	t.Helper()
	deadline := time.After(patience)
	for rows = rooms(t, store); !enough(rows); rows = rooms(t, store) {
		select {
		case <-deadline:
			t.Fatalf("%d rooms are registered", len(rows))
		default:
		}
	}
	return rows
}

// waitForCount waits until more rooms than that are registered. It asks for their number
// only: a dump of rooms that become more all the time takes long.
func waitForCount(t *testing.T, store string, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		var s struct{ Rooms int }
		stdout, stderr, _ := output("status", "--store", store, "--format", "json")
		if err := json.Unmarshal([]byte(stdout), &s); err != nil {
			t.Fatalf("status: %v: %q, %q", err, stdout, stderr)
		}
		if s.Rooms > n {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d rooms are registered", s.Rooms)
		default:
		}
	}
}

// Wrong flags are reported before anything is registered.
func TestBenchFlags(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	for want, args := range map[string][]string{
		"lines":                {"--lines", "0", "--names", "500"},
		"1232 at most":         {"--work", "register", "--lines", "40"},
		"names":                {"--names", "-1"},
		"0 names":              {"--names", "0"},
		"16777217":             {"--names", "16777217"},
		"9223372036854775808":  {"--names", "9223372036854775808"},
		"18446744073709551615": {"--names", "18446744073709551615"},
		"100000000000 names":   {"--filled", "--names", "100000000000"},
		"1e-09":                {"--rate", "1e-9"},
		"1e+10":                {"--rate", "1e10"},
		"second":               {"--rate", "-5"},
		"NaN":                  {"--rate", "NaN"},
		"Inf":                  {"--rate", "Inf"},
		"flows":                {"--flows", "0"},
		"window":               {"--window", "100000"},
		"duration":             {"--duration", "0s"},
		"-1s":                  {"--duration", "-1s"},
		"lease":                {"--ttl", "-1s"},
		"1.5s":                 {"--ttl", "1500ms"},
		"work":                 {"--work", "evict"},
		"format":               {"--format", "csv"},
	} {
		fails(t, 2, want, append([]string{"bench", "--discovery", p.addr}, args...)...)
	}
	// The log would show names that were registered and deregistered.
	if _, stderr, status := output("explain", "--store", store, "room-0000000000000000"); status != 1 {
		t.Errorf("explain: %s", stderr)
	}
	if rows := rooms(t, store); len(rows) != 0 {
		t.Errorf("%d rooms are left", len(rows))
	}
}

// Nothing stays registered, however a bench ends; and what it cannot deregister
// has a lease.
func TestBenchCleansUp(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	bench := func(args ...string) []string {
		return append([]string{"bench", "--discovery", p.addr, "--names", "2000"}, args...)
	}
	others := func(rows []discovery.Row) bool { return len(rows) > 1 }

	stdout, stderr, status := output(bench("--duration", "100ms", "--work", "mixed", "--format", "json")...)
	if status != 0 || stderr != "" || !json.Valid([]byte(stdout)) || strings.Contains(stdout, "unknown-name") {
		t.Errorf("status %d, %s, %s", status, stdout, stderr)
	}
	if rows := rooms(t, store); len(rows) != 1 {
		t.Errorf("%d rooms are left", len(rows)-1)
	}

	// While filling, which takes long with so many names, and while measuring.
	for _, args := range [][]string{{"--names", "16000000"}, {"--duration", "10m", "--work", "register", "--rate", "500"}, {"--duration", "10m"}} {
		c := registryCommand(bench(args...)...)
		var errs strings.Builder
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
		rows := waitForRooms(t, store, others)
		for _, r := range rows {
			if r.Name != "Foyer" && (r.TTLSeconds < 300 || r.TTLSeconds > 24*3600) {
				t.Fatalf("%q has a lease of %d seconds", r.Name, r.TTLSeconds)
			}
		}
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
		if c.ProcessState.ExitCode() <= 0 || strings.Count(errs.String(), "\n") != 1 || strings.Contains(errs.String(), "left") {
			t.Errorf("bench %q: %v, %q", args, c.ProcessState, &errs)
		}
		if rows := rooms(t, store); len(rows) != 1 {
			t.Errorf("bench %q leaves %d rooms", args, len(rows)-1)
		}
	}

	// Two at a time do not conflict, nor with rooms that were kept.
	if _, stderr, status := output(bench("--keep", "--duration", "10ms")...); status != 0 {
		t.Errorf("bench --keep: status %d, %s", status, stderr)
	}
	kept := rooms(t, store)
	if len(kept) != 2001 || kept[1].TTLSeconds != 0 {
		t.Errorf("%d rooms were kept", len(kept)-1)
	}
	if _, stderr, status := output(bench("--duration", "10ms")...); status != 0 || len(rooms(t, store)) != len(kept) {
		t.Errorf("bench beside what was kept: status %d, %s", status, stderr)
	}
	if stdout, stderr, status := output(bench("--duration", "10ms", "--filled", "--format", "json")...); status != 0 || strings.Contains(stdout, "unknown-name") {
		t.Errorf("bench --filled: status %d, %s, %s", status, stdout, stderr)
	}
	if rows := rooms(t, store); len(rows) != 1 {
		t.Errorf("bench --filled leaves %d rooms", len(rows)-1)
	}

	// When the registry is gone, bench says what is left, and until when.
	c := registryCommand(bench("--duration", "2s", "--rate", "10")...)
	errs, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	waitForCount(t, store, 2000)
	p.kill()
	line, _ := bufio.NewReader(errs).ReadString('\n')
	_ = c.Wait()
	if !strings.Contains(line, "2000 rooms were left registered, with leases that end by 2") || c.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, %q", c.ProcessState, line)
	}
}

// Without a registry, an interrupted bench has left nothing, and a bench whose
// registry is gone gives up soon.
func TestBenchWithoutRegistry(t *testing.T) {
	t.Parallel()
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// The first datagram shows that bench has begun.
	c := registryCommand("bench", "--discovery", nobody.LocalAddr().String(), "--names", "100000")
	var stderr strings.Builder
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = nobody.SetReadDeadline(time.Now().Add(patience))
	if _, _, err := nobody.ReadFrom(make([]byte, 2000)); err != nil {
		t.Error(err)
	}
	nobody.Close()
	_ = c.Process.Signal(os.Interrupt)
	_ = c.Wait()
	if c.ProcessState.ExitCode() != 1 || stderr.String() != "registry: interrupted\n" {
		t.Errorf("%v, %q", c.ProcessState, &stderr)
	}

	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	c = registryCommand("bench", "--discovery", p.addr, "--names", "16000000")
	stderr.Reset()
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitForCount(t, store, 40_000)
	p.kill()
	hangs := time.AfterFunc(patience/2, func() { _ = c.Process.Kill() }) // two silences of 5 s at most
	_ = c.Process.Signal(os.Interrupt)
	_ = c.Wait()
	hangs.Stop()
	if c.ProcessState.ExitCode() != 1 || !strings.HasPrefix(stderr.String(), "registry: interrupted; up to ") || !strings.HasSuffix(stderr.String(), " does not answer\n") {
		t.Errorf("%v, %q", c.ProcessState, &stderr)
	}
}
