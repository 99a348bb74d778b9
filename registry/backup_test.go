package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/testenv"
)

// rowsIn returns the rooms of a store that a registry may or may not run on.
func rowsIn(t *testing.T, store string) map[string]string {
	t.Helper()
	stdout, stderr, status := output("dump", "--store", store, "--format", "json")
	if status != 0 {
		t.Fatalf("dump of %s: %s", store, stderr)
	}
	rooms := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		var row discovery.Row
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rooms[string(row.Name)] = string(row.Address)
	}
	return rooms
}

// succeed expects a command to succeed and returns what it printed.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, status := output(args...)
	if status != 0 || stderr != "" {
		t.Fatalf("registry %q: status %d, %q", args, status, stderr)
	}
	return stdout
}

// nothingBeside fails if a file lies beside path that is none of those allowed.
func nothingBeside(t *testing.T, path string, allowed ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		known := e.Name() == filepath.Base(path)
		for _, a := range allowed {
			known = known || strings.HasPrefix(e.Name(), a)
		}
		if !known {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// writers are workers that change a registry until they are stopped.
type writers struct {
	workers []*worker
	stop    func()
}

func newWriters(t *testing.T, addr string, n int) *writers {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	l := &writers{stop: func() { cancel(); wg.Wait() }}
	seed := testenv.Seed(t)
	for i := range n {
		w := &worker{conn: dial(t, addr), rand: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprintf("w%d", i), rooms: map[string]string{}}
		l.workers = append(l.workers, w)
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := w.step(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// rooms returns what was acknowledged so far.
func (l *writers) rooms() map[string]string {
	all := map[string]string{}
	for _, w := range l.workers {
		w.mu.Lock()
		maps.Copy(all, w.rooms)
		w.mu.Unlock()
	}
	return all
}

// requested returns every room that there may ever have been.
func (l *writers) requested() map[string]string {
	all := map[string]string{}
	for _, w := range l.workers {
		w.mu.Lock()
		for i := 1; i <= w.n; i++ {
			all[fmt.Sprintf("%s %d", w.name, i)] = fmt.Sprintf("room://%s.example:%d", w.name, i)
		}
		w.mu.Unlock()
	}
	return all
}

// Amid a load of writes backups, copies and compacting succeed, and hold what was
// acknowledged when they began and not ended since, and nothing that nobody asked for.
func TestBackupAndCompactUnderLoad(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	file := filepath.Join(t.TempDir(), "backup.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	l := newWriters(t, p.addr, 8)
	for range 5 {
		for _, act := range [][]string{{"backup", file}, {"compact"}, {"verify"}, {"dump"}} {
			before := l.rooms()
			succeed(t, append(act, "--store", store)...)
			after := l.rooms()
			from := store
			if act[0] == "backup" {
				from = file
				if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("the backup: %v, %v", info, err)
				}
			}
			got := rowsIn(t, from)
			if from == store {
				after = l.rooms()
			}
			requested := l.requested()
			for name, address := range before {
				if after[name] != "" && got[name] != address {
					t.Fatalf("%s: the acknowledged room %q is at %q in %s", act[0], name, got[name], from)
				}
			}
			for name, address := range got {
				if requested[name] != address {
					t.Fatalf("%s: nobody registered %q at %q", act[0], name, address)
				}
			}
		}
	}
	l.stop()
	for range 2 {
		if got, want := rowsIn(t, store), l.rooms(); !maps.Equal(got, want) {
			t.Errorf("in the end there are %d rooms, not %d", len(got), len(want))
		}
		for _, w := range l.workers { // each retry gets the first answer
			if err := w.check(50); err != nil {
				t.Error(err)
			}
		}
		p.kill() // the file that was compacted is the one that is written
		p = serveProcess(t, store, p.addr)
	}
	p.stop(t)
	succeed(t, "verify", "--store", store)
	succeed(t, "compact", "--store", store)
	if got, want := rowsIn(t, store), l.rooms(); !maps.Equal(got, want) {
		t.Errorf("after compacting the file: %d rooms, not %d", len(got), len(want))
	}
	nothingBeside(t, store)
	nothingBeside(t, file)
}

func TestBackupRefusals(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store, file := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "backup.db")
	at := func(args ...string) []string { return append(args, "--store", store) }
	fails(t, 1, "no such file", at("backup", file)...)
	fails(t, 1, "no such file", at("compact")...)
	if _, err := os.Stat(store); err == nil {
		t.Error("compact has made a database")
	}
	p := serveProcess(t, store, "127.0.0.1:0")
	request(t, p, " REGISTER room://127.0.0.1:1 Foyer")
	for _, running := range []bool{true, false} {
		if !running {
			p.stop(t)
		}
		fails(t, 2, "give a file", at("backup", "-")...)
		fails(t, 1, "is the database itself", at("backup", store)...)
		fails(t, 1, "not a regular file", at("backup", folder)...)
		fails(t, 1, "no such file", at("backup", filepath.Join(folder, "missing", "backup.db"))...)
		if err := os.WriteFile(file, []byte("an older one"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := succeed(t, at("backup", file)...); got != file+": saved and checked\n" {
			t.Errorf("backup printed %q", got)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup: %v, %v", info, err)
		}
		if got := rowsIn(t, file); len(got) != 1 || got["Foyer"] != "room://127.0.0.1:1" {
			t.Errorf("the backup holds %v", got)
		}
	}
	other := serveProcess(t, store, "127.0.0.1:0")
	fails(t, 1, "is the database of a registry that runs", "backup", store, "--store", file)
	other.stop(t)
	nothingBeside(t, store, "backup.db")

	// What is damaged is no backup, and the older one stays.
	before, _ := os.ReadFile(file)
	p = serveProcess(t, store, "127.0.0.1:0")
	b, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(store, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.ReplaceAll(b, []byte("Foyer"), []byte("Royer")), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, running := range []bool{true, false} {
		if !running {
			p.kill()
		}
		fails(t, 1, "damaged", at("backup", file)...)
		if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
			t.Error("a backup that failed has changed the older one")
		}
	}
	serveFails := registryCommand("serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "off")
	if err := serveFails.Run(); err == nil {
		t.Error("a damaged database is served")
	}
	if left := copies(t, store); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	os.Remove(store + ".sock")
	nothingBeside(t, store, "backup.db")
}

// A copy that was interrupted at its very end does not get its name.
func TestInterruptedAtTheEnd(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	serveProcess(t, store, "127.0.0.1:0").stop(t)
	t.Setenv("FOYER_TEST_REGISTRY", "1") // the copy is checked by a process of its own
	ctx, interrupt := context.WithCancel(t.Context())
	to := filepath.Join(filepath.Dir(store), "backup.db")
	err := saveCopy(ctx, store, to, func(_, _ int64) {}, func(string) error {
		interrupt()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	succeed(t, "backup", "--store", store, to)
	if got := succeed(t, "restore", "--store", store, to); !strings.HasPrefix(got, "restored "+store+": 0 rooms; what was there") {
		t.Errorf("restore printed %q", got)
	}
}

// After restore all is as it was, but for what is said of it: the old file is kept, and
// nothing of what was done since the backup is done again by late copies.
func TestRestore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store, file := filepath.Join(folder, "rooms.db"), filepath.Join(t.TempDir(), "backup.db")
	at := func(args ...string) []string { return append(args, "--store", store) }
	p := serveProcess(t, store, "127.0.0.1:0")
	known := "@id=" + newID() + " REGISTER room://127.0.0.1:1 Foyer"
	w := &worker{conn: dial(t, p.addr)}
	ask := func(request, want string) {
		t.Helper()
		if reply, err := w.ask(request); err != nil || !strings.Contains(reply, want) {
			t.Errorf("%q got %q, %v; want %q", request, reply, err, want)
		}
	}
	ask(known, " OK")
	ask("@id="+newID()+" REGISTER room://127.0.0.1:2 Hall", " OK")
	succeed(t, at("backup", file)...)
	ended := "@id=" + newID() + " DEREGISTER Foyer"
	ask(ended, " OK")
	came := "@id=" + newID() + " REGISTER room://127.0.0.1:3 Attic"
	ask(came, " OK")
	fails(t, 1, "a registry is running on", at("restore", file)...)
	p.stop(t)

	fails(t, 1, "no such file", at("restore", file+".missing")...)
	fails(t, 1, "is the database itself", at("restore", store)...)
	damaged, newer := filepath.Join(t.TempDir(), "damaged.db"), filepath.Join(t.TempDir(), "newer.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{damaged: bytes.ReplaceAll(b, []byte("Foyer"), []byte("Royer")), newer: b} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := bbolt.Open(newer, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 99))
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	before := rowsIn(t, store)
	fails(t, 1, "damaged", at("restore", damaged)...)
	fails(t, 1, "newer Foyer", at("restore", newer)...)
	other := serveProcess(t, newer[:len(newer)-len("newer.db")]+"used.db", "127.0.0.1:0")
	fails(t, 1, "another process holds the database", at("restore", filepath.Join(filepath.Dir(newer), "used.db"))...)
	other.stop(t)
	if got := rowsIn(t, store); !maps.Equal(got, before) || got["Attic"] == "" {
		t.Errorf("after restorations that were refused: %v", got)
	}
	nothingBeside(t, store)

	for range 2 { // also again
		got := succeed(t, at("restore", file)...)
		_, kept, ok := strings.Cut(strings.TrimSpace(got), "; what was there is now ")
		if !strings.HasPrefix(got, "restored "+store+": 2 rooms, as of 2") || !ok {
			t.Fatalf("restore printed %q", got)
		}
		if kept := rowsIn(t, kept); !maps.Equal(kept, before) {
			t.Errorf("what was there: %v", kept)
		}
		os.Remove(kept)
		before = rowsIn(t, store)
		if want := map[string]string{"Foyer": "room://127.0.0.1:1", "Hall": "room://127.0.0.1:2"}; !maps.Equal(before, want) {
			t.Errorf("restored: %v", before)
		}
	}
	nothingBeside(t, store)
	p = serveProcess(t, store, "127.0.0.1:0")
	w.conn = dial(t, p.addr)
	for range 2 { // restarted, too
		ask(known, " OK")
		ask(ended, "code=stale-request")
		ask(came, "code=stale-request")
		ask("@id="+newID()+" LOOKUP Foyer", " OK room://127.0.0.1:1")
		ask("@id="+newID()+" LOOKUP Attic", "code=unknown-name")
		ask("@id="+newID()+" REGISTER room://127.0.0.1:4 Cellar", " OK")
		ask("@id="+newID()+" DEREGISTER Cellar", " OK")
		p.kill()
		p = serveProcess(t, store, p.addr)
	}
	ask(came, "code=stale-request")
	ask("@id=00000000-0000-0000-0000-000000000003 REGISTER room://127.0.0.1:5 Loft", "code=id-reused")
	p.stop(t)

	// Where there was nothing, nothing is kept.
	store = filepath.Join(t.TempDir(), "rooms.db")
	if got := succeed(t, at("restore", file)...); strings.Contains(got, "what was there") {
		t.Errorf("restore printed %q", got)
	}
	nothingBeside(t, store)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A registry saves backups by itself, removes old ones and what a process that was
// killed has left, and nothing else; it goes on when one fails.
func TestRegularBackups(t *testing.T) {
	t.Parallel()
	store, dir := filepath.Join(t.TempDir(), "rooms.db"), filepath.Join(t.TempDir(), "backups")
	serve := func(args ...string) *process {
		return serveProcess(t, store, "127.0.0.1:0", append(args, "--backup-dir", dir, "--backup-every", "1s", "--backup-keep", "2")...)
	}
	ours := func() (names []string) {
		all, _ := filepath.Glob(filepath.Join(dir, "rooms-2*Z.db"))
		return all
	}
	p := serve()
	request(t, p, " REGISTER room://127.0.0.1:1 Foyer")
	told := func() admin.Backup { return *statusOf(t, store).Backup }
	waitFor(t, "a failure", func() bool { return told().Failures > 0 })
	if b := told(); !b.LastSuccessAt.IsZero() || !strings.Contains(b.LastError, "no such file") {
		t.Errorf("it tells %+v", b)
	}
	if got, stderr, status := output("status", "--store", store); status != 0 || !strings.Contains(got, "\nbackups    none yet; failed since: ") {
		t.Errorf("status %d, %s%s", status, got, stderr)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	others := []string{"rooms-20200101T000000Z.db.gz", "rooms-.db", "rooms-2020.db", "hall-20200101T000000Z.db", ".rooms-20200101T000000Z.db.tmp-x"}
	old := filepath.Join(dir, "rooms-20200101T000000Z.db")
	for _, name := range append(others, filepath.Base(old), ".rooms-20200101T000000Z.db.tmp-123") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "two backups", func() bool {
		names := ours()
		return len(names) == 2 && names[0] != old
	})
	first := ours()[0]
	waitFor(t, "another one", func() bool {
		names := ours()
		return len(names) == 2 && names[0] != first
	})
	if got, stderr, status := output("status", "--store", store); status != 0 || !strings.Contains(got, "\nbackups    the last ") {
		t.Errorf("status %d, %s%s", status, got, stderr)
	}
	p.stop(t)
	names := ours()
	if got := rowsIn(t, names[1]); got["Foyer"] == "" {
		t.Errorf("the backup holds %v", got)
	}
	succeed(t, "verify", "--store", names[1])

	p = serveProcess(t, store, "127.0.0.1:0", "--backup-dir", dir) // removes what the killed one left
	waitFor(t, "the newest backup is told", func() bool {
		return filepath.Base(names[1]) == "rooms-"+told().LastSuccessAt.Format(backupTime)+".db"
	})
	p.stop(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(others)+2 {
		t.Errorf("there are %v", entries)
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p = serve()
	waitFor(t, "another try", func() bool {
		_ = os.Mkdir(dir, 0o700)
		return len(ours()) > 0
	})
	p.stop(t)
	fails(t, 2, "--backup-keep", "serve", "--store", store, "--backup-keep", "0")
	fails(t, 2, "--backup-every", "serve", "--store", store, "--backup-every", "1ms")
}
