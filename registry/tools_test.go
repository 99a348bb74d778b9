package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/storage/bolt"
)

// stop ends a registry cleanly.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, %s", err, p.stderr)
	}
}

// succeeds expects a command to print lines that hold the parts wanted.
func succeeds(t *testing.T, want []string, args ...string) {
	t.Helper()
	stdout, stderr, status := output(args...)
	lines := strings.FieldsFunc(stdout, func(r rune) bool { return r == '\n' })
	if status != 0 || stderr != "" || len(lines) != len(want) {
		t.Errorf("registry %q: status %d, %q, %q; want %d lines", args, status, stdout, stderr, len(want))
		return
	}
	for i := range want {
		if !strings.Contains(lines[i], want[i]) {
			t.Errorf("registry %q: line %d is %q, want %q", args, i, lines[i], want[i])
		}
	}
}

// An operator evicts names for a while, looks at them, and lets them come back:
// through a running registry, and in the file of one that is not running.
func TestHold(t *testing.T) {
	for _, running := range []bool{true, false} {
		store := filepath.Join(t.TempDir(), "rooms.db")
		p := serveProcess(t, store, "127.0.0.1:0")
		for _, line := range []string{" REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://127.0.0.1:2 Hall", " REGISTER room://127.0.0.1:3 Hallway"} {
			if got := request(t, p, line); got != "OK" {
				t.Fatalf("%q got %q", line, got)
			}
		}
		if !running {
			p.stop(t)
		}
		at := func(args ...string) []string { return append(args, "--store", store) }
		succeeds(t, []string{"NAME", "Foyer                     room://127.0.0.1:1", "Hall                      room://", "Hallway"}, at("list")...)
		succeeds(t, []string{"NAME", "Hall  ", "Hallway"}, at("list", "Hall")...)
		succeeds(t, []string{`{"name":"Hall","address":"room://127.0.0.1:2"`, `{"name":"Hallway"`}, at("list", "Hall", "--format", "json")...)
		succeeds(t, []string{"NAME"}, at("list", "--evicted")...)
		fails(t, 1, `no room of the name "hall" is registered; "Hall" is registered`, at("evict", "hall")...)
		fails(t, 1, `nothing is known of the name "hall"; "Hall" is registered`, at("explain", "hall")...)
		fails(t, 1, `the name "Hall" is not held back`, at("allow", "Hall")...)
		fails(t, 2, "--for", at("evict", "Hall", "--for", "-1s")...)
		fails(t, 2, "--for", at("evict", "Hall", "--for", "0")...)

		succeeds(t, []string{`evicted "Hallway", room://127.0.0.1:3, registered from 127.0.0.1`}, at("evict", "Hallway")...)
		succeeds(t, []string{`evicted "Foyer", room://127.0.0.1:1, registered from 127.0.0.1; nobody can register it until 2`}, at("evict", "Foyer", "--for", "1h")...)
		succeeds(t, []string{`"Attic" was not registered; nobody can register it until 2`}, at("evict", "Attic", "--for", "10m")...)
		succeeds(t, []string{"NAME", "Attic", "Foyer"}, at("list", "--evicted")...)
		succeeds(t, []string{`{"name":"Foyer","since":"2`}, at("list", "--evicted", "--format", "json", "Fo")...)
		succeeds(t, []string{"held          -                                 by the operator, until 2", "evicted", "registered"}, at("explain", "Foyer")...)
		succeeds(t, []string{"Hall"}, at("dump", "--format", "json")...)
		succeeds(t, []string{"no faults found"}, at("verify")...)

		if running {
			p.kill() // what was answered is kept
		}
		p = serveProcess(t, store, "127.0.0.1:0")
		for _, name := range []string{"Foyer", "Attic"} {
			if got := request(t, p, " REGISTER room://127.0.0.1:1 "+name); !strings.HasPrefix(got, "NOTOK the operator has taken this name off until 2") {
				t.Errorf("REGISTER of %s: %q", name, got)
			}
		}
		if !running {
			p.stop(t)
		}
		succeeds(t, []string{`"Foyer" can be registered`}, at("allow", "Foyer")...)
		succeeds(t, []string{"NAME", "Attic"}, at("list", "--evicted")...)
		if !running {
			p = serveProcess(t, store, "127.0.0.1:0")
		}
		if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
			t.Errorf("REGISTER of an allowed name: %q", got)
		}
		p.stop(t)
	}
}

// The tools find the registry through a symbolic link to its file, and the
// other way round.
func TestSymlink(t *testing.T) {
	folder := t.TempDir()
	store, link := filepath.Join(folder, "rooms.db"), filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(store, link); err != nil {
		t.Fatal(err)
	}
	serveProcess(t, store, "127.0.0.1:0").stop(t) // the file is there
	for _, paths := range [][2]string{{store, link}, {link, store}} {
		p := serveProcess(t, paths[0], "127.0.0.1:0")
		request(t, p, " REGISTER room://127.0.0.1:1 Foyer")
		for _, path := range paths {
			succeeds(t, []string{"Foyer"}, "dump", "--format", "json", "--store", path)
			succeeds(t, []string{path + ": no faults found"}, "verify", "--store", path)
		}
		p.stop(t)
	}
}

// Nor do they wait for one that stops in the middle of its answer.
func TestServerStopsAmidADump(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	l, err := net.Listen("unix", store+".sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		for _, page := range []string{`{"rooms":[{"name":"Foyer"}],"next":"Foyer"}`, `{"rooms":[{"name":"Hall"},`} {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n%s", page)
		}
		<-t.Context().Done()
		c.Close()
	}()
	stdout, stderr, status := output("dump", "--format", "json", "--store", store)
	if status != 1 || !strings.Contains(stdout, "Foyer") || !strings.Contains(stderr, "did not answer within 10s") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// copies returns the copies of a store that are there.
func copies(t *testing.T, store string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(store))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), copyInfix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// verify reads a copy beside a running registry, which is removed however the
// tool or the registry ends.
func TestVerifyBesideAServer(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:1 Foyer"); got != "OK" {
		t.Fatal(got)
	}
	for range 5 { // one right after the other
		succeeds(t, []string{store + ": no faults found"}, "verify", "--store", store)
	}
	waitForCopies(t, store, 0)

	// asked makes the registry write a copy, and keeps the connection.
	asked := func() (name string, gone func()) {
		t.Helper()
		body, err := newAdminClient(store+".sock").do(t.Context(), "POST", "/v1/copy", nil)
		if err != nil {
			t.Fatal(err)
		}
		for p, err := range lines[admin.CopyProgress](keepOpen{body}) {
			if err != nil || p.Error != "" {
				t.Fatal(err, p.Error)
			}
			if p.Name != "" {
				return p.Name, func() { body.Close() }
			}
		}
		t.Fatal("there is no copy")
		return "", nil
	}
	name, gone := asked()
	info, err := os.Stat(filepath.Join(filepath.Dir(store), name))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
	fails(t, 1, "a copy for somebody else", "verify", "--store", store)
	gone() // as a tool that was killed
	waitForCopies(t, store, 0)

	_, gone = asked()
	p.kill()
	gone()
	if left := copies(t, store); len(left) != 1 {
		t.Errorf("copies left by a registry that was killed: %q", left)
	}
	theirs := store + copyInfix + "mine"
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p = serveProcess(t, store, "127.0.0.1:0")
	if left := copies(t, store); len(left) != 1 || left[0] != filepath.Base(theirs) {
		t.Errorf("after the next start: %q", left)
	}
	os.Remove(theirs)

	_, gone = asked()
	p.stop(t) // does not wait for the tool
	if left := copies(t, store); len(left) != 0 {
		t.Errorf("after SIGTERM: %q", left)
	}
	gone()
}

// keepOpen is a body that lines does not close.
type keepOpen struct {
	body interface{ Read([]byte) (int, error) }
}

func (k keepOpen) Read(b []byte) (int, error) { return k.body.Read(b) }
func (keepOpen) Close() error                 { return nil }

func waitForCopies(t *testing.T, store string, n int) {
	t.Helper()
	for deadline := time.After(patience); len(copies(t, store)) != n; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("copies: %q, want %d", copies(t, store), n)
		}
	}
}

// Damage under a running registry is found in the copy, and reported for the
// file.
func TestVerifyFindsDamageBesideAServer(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	for i := range 200 {
		if got := request(t, p, " REGISTER room://127.0.0.1:"+string(rune('1'+i%9))+strings.Repeat("0", i/9%3)+" "+strings.Repeat("room ", 20)+strings.Repeat("x", i+1)); strings.HasPrefix(got, "NOTOK malformed") {
			t.Fatal(got)
		}
	}
	content, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(content), "room room room room")
	f, err := os.OpenFile(store, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for ; at >= 0; at = strings.LastIndex(string(content[:at]), "room room room room") {
		if _, err := f.WriteAt([]byte("X"), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	stdout, stderr, status := output("verify", "--store", store)
	if status != 1 || stdout+stderr == "" || strings.Contains(stdout+stderr, copyInfix) || strings.Contains(stdout, "no faults") {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	waitForCopies(t, store, 0)
	p.kill()
}

func rowsOf(rows ...discovery.Row) iter.Seq2[discovery.Row, error] {
	return func(yield func(discovery.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Names are untrusted: a spreadsheet must not take one for a formula, nor a
// terminal for a command.
func TestCells(t *testing.T) {
	for name, want := range map[foyer.Name]string{
		"Foyer": "Foyer", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1",
		"＝1": "'＝1", "'=1": "''=1", "a=1": "a=1", "": "",
	} {
		var b strings.Builder
		if err := printCSV(&b, rowsOf(discovery.Row{Name: name, Owner: "-key"})); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
		if err != nil || records[1][0] != want || records[1][4] != "'-key" {
			t.Errorf("%q in CSV is %q, %v; want %q", name, records[1], err, want)
		}
	}
	const bad = "a\u202eb\x1b[2Jc\u2066d\u2028e"
	row := discovery.Row{Name: bad, Address: bad}
	var table, list, history, text strings.Builder
	_ = printTable(&table, rowsOf(row))
	_ = printList(&list, "table", rowsOf(row), nil, roomCells)
	_ = printHistory(&history, func(yield func(discovery.Entry, error) bool) { yield(discovery.Entry{Address: bad}, nil) })
	_ = json.NewEncoder(&text).Encode(row) // escapes what it must
	for _, s := range []string{table.String(), list.String(), history.String()} {
		if strings.ContainsAny(s, "\u202e\x1b\u2066\u2028") || !strings.Contains(s, "a\ufffdb\ufffd[2Jc\ufffdd\ufffde") {
			t.Errorf("the table holds %q", s)
		}
	}
}

// A registry that ends while a tool asks it is not reported as an HTTP error.
func TestServerEnds(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"": "the running registry ended before it answered",
		"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"bytes\":1}\n": "the running registry broke off: it ended",
	} {
		store := filepath.Join(t.TempDir(), "rooms.db")
		l, err := net.Listen("unix", store+".sock")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write([]byte(answer))
			c.Close()
		}()
		fails(t, 1, "registry: "+want+"\n", "verify", "--store", store)
	}
}

// Nor is one that is stopped while it makes a copy.
func TestCopyOfAStoppingServer(t *testing.T) {
	store, err := bolt.Open(filepath.Join(t.TempDir(), "rooms.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	w := httptest.NewRecorder()
	a := admin.New(ctx, discovery.New(store, discovery.Options{}), store, admin.Options{
		Log: slog.New(slog.DiscardHandler), Copier: newCopier(store, filepath.Join(t.TempDir(), "rooms.db")),
	})
	a.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/copy", nil))
	if got := w.Body.String(); !strings.Contains(got, "it is stopping") {
		t.Errorf("the answer is %q", got)
	}
}
