package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"foyer"
	"foyer/discovery"
)

// output runs the registry with args in its own process.
func output(args ...string) (stdout, stderr string, status int) {
	c := registryCommand(args...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		return "", err.Error(), -1
	}
	hangs := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer hangs.Stop()
	_ = c.Wait()
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// fails expects a command to fail with one line that holds want.
func fails(t *testing.T, status int, want string, args ...string) {
	t.Helper()
	_, stderr, got := output(args...)
	if got != status || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("registry %q: status %d, %q; want status %d and one line with %q", args, got, stderr, status, want)
	}
}

func request(t *testing.T, p *process, line string) string {
	t.Helper()
	w := &worker{conn: dial(t, p.addr)}
	reply, err := w.ask("@id=" + newID() + line)
	if err != nil {
		t.Fatal(err)
	}
	_, reply, _ = strings.Cut(reply, " ")
	return reply
}

func TestDump(t *testing.T) {
	store := filepath.Join(t.TempDir(), strings.Repeat("a long name for a folder ", 8), "rooms.db")
	if err := os.MkdirAll(filepath.Dir(store), 0o700); err != nil {
		t.Fatal(err)
	}
	p := serveProcess(t, store, "127.0.0.1:0")
	for _, line := range []string{
		";ttl=60 REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://[2001:db8::1]:2 Great Hall", " REGISTER room://inn.example:3 \"Inn\", <old>",
	} {
		if got := request(t, p, line); got != "OK" {
			t.Fatalf("%q got %q", line, got)
		}
	}
	var want map[string]string
	for _, running := range []bool{true, false} {
		if !running {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v, %s", err, p.stderr)
			}
		}
		got := map[string]string{}
		for _, format := range []string{"table", "json", "csv"} {
			stdout, stderr, status := output("dump", "--store", store, "--format", format)
			if status != 0 || stderr != "" {
				t.Errorf("dump --format %s: status %d, %s", format, status, stderr)
			}
			got[format] = stdout
		}
		got["explain"], _, _ = output("explain", "Foyer", "--store", "bolt:"+store)
		if want == nil {
			want = got
		}
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("%s without a server is %q, with it %q", k, got[k], want[k])
			}
		}
	}
	var rows []discovery.Row
	for line := range strings.Lines(want["json"]) {
		var fields map[string]any
		var row discovery.Row
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"name", "address", "registered_at", "ttl_seconds", "owner"} {
			if _, ok := fields[f]; !ok {
				t.Errorf("%s has no %s", line, f)
			}
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	names := []foyer.Name{`"Inn", <old>`, "Foyer", "Great Hall"}
	if !slices.EqualFunc(rows, names, func(r discovery.Row, n foyer.Name) bool { return r.Name == n }) || rows[1].TTLSeconds != 60 || rows[0].TTLSeconds != 0 {
		t.Errorf("the dump is %+v", rows)
	}
	if !strings.Contains(want["csv"], `"""Inn"", <old>",room://inn.example:3,`) {
		t.Errorf("the CSV dump is %s", want["csv"])
	}
	if !strings.Contains(want["explain"], "registered") || strings.Count(want["explain"], "\n") != 1 {
		t.Errorf("explain printed %q", want["explain"])
	}
}

func TestEvict(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	for _, line := range []string{" REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://127.0.0.1:2 Hall"} {
		if got := request(t, p, line); got != "OK" {
			t.Fatalf("%q got %q", line, got)
		}
	}
	if _, stderr, status := output("evict", "--store", store, "Foyer"); status != 0 {
		t.Errorf("evict: status %d, %s", status, stderr)
	}
	if got := request(t, p, " LOOKUP Foyer"); !strings.HasPrefix(got, "NOTOK") {
		t.Errorf("after evict: %q", got)
	}
	fails(t, 1, "no room of the name", "evict", "--store", store, "Foyer")
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	if _, stderr, status := output("evict", "--store", store, "Hall"); status != 0 {
		t.Errorf("evict without a server: status %d, %s", status, stderr)
	}
	fails(t, 1, "no room of the name", "evict", "--store", store, "Hall")
	stdout, _, _ := output("explain", "--store", store, "Hall")
	if lines := strings.Split(stdout, "\n"); len(lines) != 3 || !strings.Contains(lines[0], "evicted") || !strings.Contains(lines[0], "by the operator") || !strings.Contains(lines[1], "registered") {
		t.Errorf("explain printed %q", stdout)
	}
	fails(t, 1, "nothing is known", "explain", "--store", store, "Attic")
	if stdout, _, status := output("verify", "--store", store); status != 0 || !strings.Contains(stdout, "no faults") {
		t.Errorf("verify: status %d, %q", status, stdout)
	}
}

// Errors are one line, and change nothing.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "rooms.db")
	missing := filepath.Join(dir, "missing", "rooms.db")
	rubbish := filepath.Join(dir, "rubbish.db")
	if err := os.WriteFile(rubbish, []byte(strings.Repeat("rubbish ", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	badKeys := filepath.Join(dir, "keys")
	if err := os.WriteFile(badKeys, []byte("# fine\nnot a key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serveProcess(t, store, "127.0.0.1:0")
	serve := func(more ...string) []string {
		return append([]string{"serve", "--listen", "127.0.0.1:0", "--http", "off"}, more...)
	}
	for _, c := range []struct {
		status int
		want   string
		args   []string
	}{
		{1, "holds", serve("--store", store)},
		{1, "no such file or directory; --store says where", serve("--store", missing)},
		{1, "not a Foyer database", serve("--store", rubbish)},
		{1, "not a regular file", serve("--store", dir)},
		{1, "no such file or directory; --store says where", []string{"dump", "--store", missing}},
		{1, "no such file or directory; --store says where", []string{"dump", "--store", filepath.Join(dir, "none.db")}},
		{1, "no such file or directory; --store says where", []string{"explain", "x", "--store", filepath.Join(dir, "none.db")}},
		{1, "no such file or directory; --store says where", []string{"evict", "x", "--store", filepath.Join(dir, "none.db")}},
		{1, "no such file or directory; --store says where", []string{"verify", "--store", filepath.Join(dir, "none.db")}},
		{1, "no such file or directory; --store says where", []string{"list", "--store", filepath.Join(dir, "none.db")}},
		{1, "no such file or directory; --store says where", []string{"allow", "x", "--store", filepath.Join(dir, "none.db")}},
		{1, "not a Foyer database", []string{"dump", "--store", rubbish}},
		{2, `invalid value "all" for --addresses: it is own or any`, serve("--store", filepath.Join(dir, "x.db"), "--addresses", "all")},
		{2, "invalid value 0 for --max-names-per-host: it is at least 1", serve("--store", filepath.Join(dir, "x.db"), "--max-names-per-host", "0")},
		{1, "keys, line 2", serve("--store", filepath.Join(dir, "x.db"), "--authorized-keys", badKeys)},
		{1, "address already in use", []string{"serve", "--store", filepath.Join(dir, "x.db"), "--listen", p.addr, "--http", "off"}},
		{2, "--listen", []string{"serve", "--store", store, "--listen", "127.0.0.1:70000"}},
		{2, "--http", []string{"serve", "--store", store, "--http", "nonsense"}},
		{2, "no store of the kind", []string{"dump", "--store", "etcd://127.0.0.1:2379"}},
		{2, "--format", []string{"dump", "--store", store, "--format", "xml"}},
		{2, "unknown flag", []string{"dump", "--nonsense"}},
		{2, "unknown command", []string{"serv"}},
		{2, "control", []string{"lookup", "a\x01b"}},
		{2, "wrong arguments", []string{"lookup"}},
		{2, "wrong arguments", []string{"dump", "too", "many"}},
	} {
		if c.want == "control" {
			c.want = "a character that names may not have"
		}
		fails(t, c.status, c.want, c.args...)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"keys", "rooms.db", "rooms.db.sock", "rubbish.db"}; !slices.Equal(names, want) {
		t.Errorf("the folder holds %q, want %q", names, want)
	}
}

// The socket of a killed server does not keep the next one, or the tools, from
// working.
func TestStaleSocket(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	for range 2 {
		p.kill()
		if _, err := os.Lstat(store + ".sock"); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, status := output("dump", "--store", store, "--format", "csv"); status != 0 || strings.Count(stdout, "\n") != 2 {
			t.Errorf("dump: status %d, %q, %s", status, stdout, stderr)
		}
		p = serveProcess(t, store, "127.0.0.1:0")
	}
	info, err := os.Lstat(store + ".sock")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	if _, err := os.Lstat(store + ".sock"); err == nil {
		t.Error("the socket is left behind")
	}
}
