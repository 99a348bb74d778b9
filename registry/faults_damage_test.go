package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/discovery"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/bolt"
)

// A specimen is a database file to damage, and what is in it.
type specimen struct {
	file  []byte
	rooms map[string]string // addresses by name
	gone  string            // a name that was deregistered
}

const held = "The Vault" // a name that is kept from being registered

// newSpecimens returns the file of a registry that was killed, with a log that
// is still to be worked off, and that of one which ended in good order.
func newSpecimens(t *testing.T) []specimen {
	t.Helper()
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	rooms := map[string]string{}
	w := &worker{conn: dial(t, p.addr)}
	ask := func(line string) {
		reply, err := w.ask("@id=" + newID() + line)
		if err != nil || !strings.HasSuffix(reply, " OK") {
			t.Fatalf("%q got %q, %v", line, reply, err)
		}
	}
	for i := range 150 {
		name, address := fmt.Sprintf("Room %d of the east wing", i), fmt.Sprintf("room://wing-%d.example:%d", i%7, i+1)
		rooms[name] = address
		ask(";ttl=3600 REGISTER " + address + " " + name)
	}
	const gone = "The Folly"
	ask(" REGISTER room://folly.example:1 " + gone)
	ask(" DEREGISTER " + gone)
	if _, stderr, status := output("evict", "--for", "24h", held, "--store", store); status != 0 {
		t.Fatalf("evict --for: %s", stderr)
	}
	p.kill()
	read := func() specimen {
		b, err := os.ReadFile(store)
		if err != nil {
			t.Fatal(err)
		}
		return specimen{b, rooms, gone}
	}
	killed := read()
	// Opened once more and closed, so that the pages are those of a long life.
	p = serveProcess(t, store, "127.0.0.1:0")
	_ = p.cmd.Process.Signal(os.Interrupt)
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return []specimen{killed, read()}
}

// used returns how much of the file has something in it: the end was never
// written.
func (s *specimen) used() int {
	n := len(s.file)
	for n > 0 && s.file[n-1] == 0 {
		n--
	}
	return n
}

const pageSize = 4096

// damage returns a damaged copy of the file, and says what was done.
func (s *specimen) damage(random *rand.Rand) (file []byte, how string) {
	file = slices.Clone(s.file)
	used := s.used()
	pages := (used + pageSize - 1) / pageSize
	page := func() []byte {
		n := random.IntN(pages)
		how += fmt.Sprintf(" page %d", n)
		return file[n*pageSize : (n+1)*pageSize]
	}
	switch random.IntN(7) {
	case 0:
		n := random.IntN(used)
		return file[:n], fmt.Sprintf("cut off after %d bytes", n)
	case 1:
		n := random.IntN(pages) * pageSize
		return file[:n], fmt.Sprintf("cut off after %d bytes", n)
	case 2:
		how = "bits turned:"
		for range 1 + random.IntN(4) {
			n := random.IntN(used)
			file[n] ^= 1 << random.IntN(8)
			how += fmt.Sprintf(" byte %d", n)
		}
	case 3:
		how = "zeroed:"
		clear(page())
	case 4:
		how = "overwritten by another:"
		copy(page(), page())
	case 5:
		how = "random bytes:"
		p := page()
		for i := range p {
			p[i] = byte(random.Uint32())
		}
	case 6:
		// The structure of a page, rather than what it holds, is at its start.
		how = "a changed head:"
		p := page()
		p[random.IntN(64)] = byte(random.Uint32())
	}
	return file, how
}

// TestDamagedFiles gives damaged files to the programs. Each of them either
// says in one line why it will not, or does what it would do with a sound file:
// nothing wrong is ever served or printed.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	damages := 40 // make soak: more
	if s := os.Getenv("FOYER_DAMAGES"); s != "" {
		damages, _ = strconv.Atoi(s)
	}
	n := testenv.Seed(t)
	specimens := newSpecimens(t)
	store := filepath.Join(t.TempDir(), "rooms.db")
	refused := map[string]int{}
	for i := range damages {
		random := rand.New(rand.NewPCG(n, uint64(i)))
		s := &specimens[random.IntN(len(specimens))]
		file, how := s.damage(random)
		d := &damaged{T: t, specimen: s, store: store, how: fmt.Sprintf("damage %d: %s", i, how)}
		sound := false
		for _, tool := range []struct {
			name    string
			refuses func() bool
		}{{"verify", d.verify}, {"dump", d.dump}, {"explain", d.explain}, {"list", d.list}, {"evict", d.evict}, {"serve", d.serve}} {
			if err := os.WriteFile(store, file, 0o600); err != nil {
				t.Fatal(err)
			}
			switch {
			case !tool.refuses():
				sound = sound || tool.name == "verify"
			case sound:
				t.Errorf("%s: %s refuses what verify finds no fault in", d.how, tool.name)
			default:
				refused[tool.name]++
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("of %d damaged files so many were refused: %v", damages, refused)
}

// damaged is a damaged file under test.
type damaged struct {
	*testing.T
	*specimen
	store, how string
}

// run runs a tool on the file. It reports whether the tool refused it, in one
// line.
func (d *damaged) run(args ...string) (stdout string, refused bool) {
	d.Helper()
	c := registryCommand(append(args, "--store", d.store)...)
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		d.Fatal(err)
	}
	hangs := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	_ = c.Wait()
	switch status := c.ProcessState.ExitCode(); {
	case !hangs.Stop():
		d.Errorf("%s: %q hangs", d.how, args)
	case status == 0 && errs.Len() == 0:
		return out.String(), false
	case status != 1 || !oneLine(errs.String()):
		d.Errorf("%s: %q ended with %d: %s", d.how, args, status, &errs)
	}
	return out.String(), true
}

func oneLine(stderr string) bool {
	return strings.HasPrefix(stderr, "registry: ") && strings.Count(stderr, "\n") == 1 &&
		!strings.Contains(stderr, "goroutine") && !strings.Contains(stderr, "panic")
}

func (d *damaged) verify() (refused bool) {
	stdout, refused := d.run("verify")
	if strings.Contains(stdout, "no faults") == refused {
		d.Errorf("%s: verify printed %q", d.how, stdout)
	}
	return refused
}

// dump prints all of the rooms or, if it finds out on the way, some.
func (d *damaged) dump() (refused bool) {
	stdout, refused := d.run("dump", "--format", "json")
	rooms := map[string]string{}
	for line := range strings.Lines(stdout) {
		var row discovery.Row
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			d.Errorf("%s: dump printed %q", d.how, line)
		}
		if d.rooms[string(row.Name)] != string(row.Address) {
			d.Errorf("%s: dump has %q at %s", d.how, row.Name, row.Address)
		}
		rooms[string(row.Name)] = string(row.Address)
	}
	if !refused && !maps.Equal(rooms, d.rooms) {
		d.Errorf("%s: dump has %d of %d rooms", d.how, len(rooms), len(d.rooms))
	}
	return refused
}

func (d *damaged) explain() (refused bool) {
	stdout, refused := d.run("explain", d.gone)
	if !refused && (strings.Count(stdout, "\n") != 2 || !strings.Contains(stdout, "deregistered") || strings.Count(stdout, "room://folly.example:1 ") != 2) {
		d.Errorf("%s: explain printed %q", d.how, stdout)
	}
	return refused
}

// list prints the name that is held.
func (d *damaged) list() (refused bool) {
	stdout, refused := d.run("list", "--evicted", "--format", "json")
	if !refused && (strings.Count(stdout, "\n") != 1 || !strings.HasPrefix(stdout, `{"name":"`+held+`",`)) {
		d.Errorf("%s: list --evicted printed %q", d.how, stdout)
	}
	return refused
}

// evict ends a registration, after which the rest is there.
func (d *damaged) evict() (refused bool) {
	const name = "Room 7 of the east wing"
	if _, refused = d.run("evict", name); refused {
		return true
	}
	all := d.rooms
	defer func() { d.rooms = all }()
	d.rooms = maps.Clone(all)
	delete(d.rooms, name)
	return d.dump()
}

// serve starts a registry and looks up every room.
func (d *damaged) serve() (refused bool) {
	p, err := startProcess(d.T, registryCommand("serve", "--store", d.store, "--listen", "127.0.0.1:0", "--http", "off"), (*exec.Cmd).Start)
	if err != nil {
		if p.cmd.ProcessState.ExitCode() != 1 || !oneLine(p.stderr.String()) {
			d.Errorf("%s: serve ended with %v: %s", d.how, err, p.stderr)
		}
		return true
	}
	defer p.kill()
	conn, err := net.Dial("udp", p.addr)
	if err != nil {
		d.Fatal(err)
	}
	defer conn.Close()
	w := &worker{conn: conn}
	for name, address := range d.rooms {
		reply, err := w.ask("@id=" + newID() + " LOOKUP " + name)
		if err != nil || !strings.HasSuffix(reply, " OK "+address) {
			d.Errorf("%s: the look-up of %q at %s got %q, %v", d.how, name, address, reply, err)
			break
		}
	}
	reply, err := w.ask("@id=" + newID() + " LOOKUP " + d.gone)
	if err != nil || !strings.Contains(reply, "code=unknown-name") {
		d.Errorf("%s: the look-up of %q got %q, %v", d.how, d.gone, reply, err)
	}
	return false
}

// TestDamagedLargeFile damages a record of a large file. The registry ends before
// it listens, says in one line what is damaged, and has not changed the file.
func TestDamagedLargeFile(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "rooms.db")
	s, err := bolt.Open(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	const rooms = 70_000
	err = s.Update(storage.Instant{}, func(tx storage.Tx) error {
		for i := range rooms {
			r := foyer.Registration{Name: foyer.Name(fmt.Sprintf("Cell %d", i)), Address: foyer.Address(fmt.Sprintf("room://cell-%d.example:1", i))}
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	file = bytes.ReplaceAll(file, []byte("cell-4711.example"), []byte("cell-4712.example"))
	if err := os.WriteFile(store, file, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(t, registryCommand("serve", "--store", store, "--listen", "127.0.0.1:0", "--http", "off"), (*exec.Cmd).Start)
	said := p.stderr.String()
	if err == nil || !strings.Contains(err.Error(), `printed ""`) || p.cmd.ProcessState.ExitCode() != 1 || !oneLine(said) ||
		!strings.Contains(said, store+": the database is damaged: ") || !strings.Contains(said, `the piece "Cell 4`) {
		t.Errorf("it ended with %v", err)
	}
	t.Log(said)
	if after, err := os.ReadFile(store); err != nil || !bytes.Equal(after, file) {
		t.Errorf("the file was changed, %v", err)
	}
}
