package main

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/discovery"
	"foyer/internal/testenv"
	"foyer/wire"
)

// dumped returns what `registry dump` prints.
func dumped(t *testing.T, store, format string) string {
	t.Helper()
	stdout, stderr, status := output("dump", "--store", store, "--format", format)
	if status != 0 || stderr != "" {
		t.Fatalf("dump: status %d, %s", status, stderr)
	}
	return stdout
}

func writeFile(t *testing.T, folder, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// registerSigned registers a room with an owner's key.
func registerSigned(t *testing.T, p *process, key ed25519.PrivateKey, address, name string) {
	t.Helper()
	w := &worker{conn: dial(t, p.addr)}
	public := foyer.Key(key.Public().(ed25519.PublicKey))
	line := wire.Sign([]byte("@id="+newID()+";ttl=60;key="+public.String()+" REGISTER "+address+" "+name), key)
	if reply, err := w.ask(string(line)); err != nil || !strings.Contains(reply, " OK") {
		t.Fatalf("%q got %q, %v", line, reply, err)
	}
}

// A world that is dumped and imported is the same: in a new file, in that of a
// registry that runs, and again after it was there.
func TestImport(t *testing.T) {
	folder := t.TempDir()
	source := filepath.Join(folder, "source.db")
	p := serveProcess(t, source, "127.0.0.1:0")
	for _, line := range []string{
		";ttl=60 REGISTER room://127.0.0.1:1 Foyer", " REGISTER room://[2001:db8::1]:2 Great Hall", " REGISTER room://inn.example:3 \"Inn\", <old>",
		" REGISTER room://127.0.0.1:4 =Größe", " REGISTER room://127.0.0.1:5 'quoted'", ";ttl=86400;exits=bjo8U3R1ZHkKdTo9Um9vZg REGISTER room://127.0.0.1:6 Attic",
	} {
		if got := request(t, p, line); !strings.HasPrefix(got, "OK") {
			t.Fatalf("%q got %q", line, got)
		}
	}
	key := ed25519.NewKeyFromSeed([]byte("the seed of an owner's key: 32 b"))
	registerSigned(t, p, key, "room://127.0.0.1:7", "Vault")
	want := map[string]string{"json": dumped(t, source, "json"), "csv": dumped(t, source, "csv")}
	p.stop(t)
	if strings.Count(want["json"], "\n") != 7 || strings.Count(want["json"], `"owner":""`) != 6 || !strings.Contains(want["json"], `"exits":{"north":"<Study","up":"=Roof"}`) {
		t.Fatalf("the dump is %s", want["json"])
	}
	for format, text := range want {
		file := writeFile(t, folder, "dump."+format, text)
		for _, running := range []bool{true, false} {
			store := filepath.Join(folder, fmt.Sprintf("%s-%v.db", format, running))
			at := func(args ...string) []string { return append(args, "--store", store) }
			var p *process
			if running {
				p = serveProcess(t, store, "127.0.0.1:0")
			}
			succeeds(t, []string{"imported 7 registrations"}, at("import", file)...)
			succeeds(t, []string{"imported 0 registrations; 7 already registered"}, at("import", file)...)
			if p == nil {
				p = serveProcess(t, store, "127.0.0.1:0")
			}
			for format := range want {
				if got := dumped(t, store, format); got != want[format] {
					t.Errorf("the dump is %s, want %s", got, want[format])
				}
			}
			succeeds(t, []string{"registered    room://127.0.0.1:7                by the operator, ttl 1m0s, key "}, at("explain", "Vault")...)
			if got := request(t, p, " LOOKUP =Größe"); got != "OK room://127.0.0.1:4" {
				t.Errorf("LOOKUP got %q", got)
			}
			// Owners own, and hosts have what they registered.
			if got := request(t, p, " DEREGISTER Vault"); !strings.HasPrefix(got, "NOTOK the name has an owner") {
				t.Errorf("DEREGISTER without the key got %q", got)
			}
			registerSigned(t, p, key, "room://127.0.0.1:8", "Vault")
			if got := request(t, p, " DEREGISTER Foyer"); got != "OK" {
				t.Errorf("DEREGISTER got %q", got)
			}
			fails(t, 1, `line `, at("import", file)...)
			p.stop(t)
			if said := regexp.MustCompile(`msg=serving .* rooms=7 loaded=[0-9.]+m?s\n`); !running && !said.MatchString(p.stderr.String()) {
				t.Errorf("the log is %s", p.stderr)
			}
			succeeds(t, []string{"no faults found"}, at("verify")...)
		}
	}
}

const (
	dumpOfOne  = `{"name":"Foyer","address":"room://127.0.0.1:1","registered_at":"2026-01-31T20:15:04.123Z","ttl_seconds":0,"owner":""}` + "\n"
	dumpOfMore = `{"name":"Hall","address":"room://127.0.0.1:2","registered_at":"2026-01-31T20:15:04Z","ttl_seconds":30,"owner":"","more":[1]}` + "\n"
)

// What cannot be imported is refused with the line that is to blame, and nothing
// is changed, by a registry that runs or in the file.
func TestImportRefusals(t *testing.T) {
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	if got := request(t, p, " REGISTER room://127.0.0.1:99 Taken"); got != "OK" {
		t.Fatal(got)
	}
	key := ed25519.NewKeyFromSeed([]byte("the seed of an owner's key: 32 b"))
	registerSigned(t, p, key, "room://127.0.0.1:98", "Owned")
	if _, stderr, status := output("evict", "--store", store, "--for", "1h", "Closed"); status != 0 {
		t.Fatal(stderr)
	}
	line := func(name, address, at, ttl, owner string) string {
		return fmt.Sprintf(`{"name":%q,"address":%q,"registered_at":%q,"ttl_seconds":%s,"owner":%q}`+"\n", name, address, at, ttl, owner)
	}
	const address, at = "room://127.0.0.1:3", "2026-01-31T20:15:04Z"
	const csvHead = "name,address,registered_at,ttl_seconds,owner\n"
	cases := map[string]string{
		dumpOfOne + line("", address, at, "0", ""):                                     "line 2: the name is missing",
		dumpOfOne + "\n" + line("a  b", address, at, "0", ""):                          "line 3: the name has two spaces in a row",
		dumpOfOne + line("x", "room://127.0.0.1:0", at, "0", ""):                       "line 2: the port is not a number",
		dumpOfOne + line("x", address, "yesterday", "0", ""):                           `line 2: registered_at is "yesterday"`,
		dumpOfOne + line("x", address, at, "4", ""):                                    `line 2: ttl_seconds is "4" and should be 0 or from 5 to 86400`,
		dumpOfOne + line("x", address, at, "86401", ""):                                `line 2: ttl_seconds is "86401"`,
		dumpOfOne + line("x", address, at, "-5", ""):                                   `line 2: ttl_seconds is "-5"`,
		dumpOfOne + line("x", address, at, "5.5", ""):                                  `line 2: ttl_seconds is "5.5"`,
		dumpOfOne + line("x", address, at, "0", "me"):                                  "line 2: the key is not 32 bytes",
		dumpOfOne + line("Foyer", address, at, "0", ""):                                `line 2: "Foyer" is in line 1 as well`,
		dumpOfOne + dumpOfOne:                                                          `line 2: "Foyer" is in line 1 as well`,
		dumpOfOne + line("x", "room://127.0.0.1:01", at, "0", ""):                      `line 2: room://127.0.0.1:1 is in line 1 as well`,
		dumpOfOne + strings.ReplaceAll(dumpOfMore, `"owner":"",`, ""):                  "line 2: it has no owner",
		dumpOfOne + strings.ReplaceAll(dumpOfMore, `"ttl_seconds":30,`, ""):            "line 2: it has no ttl_seconds",
		dumpOfOne + strings.ReplaceAll(dumpOfMore, `"owner"`, `"from":"me","owner"`):   `line 2: from is "me"`,
		dumpOfOne + dumpOfMore[:50]:                                                    "line 2: it is neither JSON nor CSV",
		dumpOfOne + strings.ReplaceAll(dumpOfMore, "Hall", "H\xffll"):                  "line 2: it is not UTF-8",
		"NAME   ADDRESS\nFoyer  room://127.0.0.1:1\n":                                  "line 1: it is neither JSON nor CSV",
		csvHead + "x," + address + "," + at + ",0,\n\ny," + address + "," + at + ",\n": "line 4: it is neither JSON nor CSV",
		csvHead + "x," + address + "," + at + ",1,\n":                                  `line 2: ttl_seconds is "1"`,
		strings.Repeat("x", 1<<17):                                                     "line 1: it is neither JSON nor CSV",
		"{" + strings.Repeat(" ", 1<<17):                                               "a line is longer than 65536 bytes",

		dumpOfOne + line("Taken", address, at, "0", ""):                                            `line 2: "Taken" is registered already, at room://127.0.0.1:99; nothing was imported`,
		dumpOfOne + line("Taken", "room://127.0.0.1:99", at, "0", ""):                              `line 2: "Taken" is registered already, since 2`,
		dumpOfOne + line("Owned", "room://127.0.0.1:98", at, "60", ""):                             `line 2: "Owned" is registered already, with another owner`,
		dumpOfOne + line("x", "room://127.0.0.1:99", at, "0", ""):                                  `line 2: room://127.0.0.1:99 is registered already, for "Taken"`,
		dumpOfOne + line("Closed", address, at, "0", ""):                                           `line 2: "Closed" was evicted until 2`,
		line("Taken", address, at, "0", "") + dumpOfOne + line("Closed", address+"1", at, "0", ""): `line 1: "Taken" is registered already, at room://127.0.0.1:99, and 1 more lines are in conflict; nothing was imported`,
	}
	before := dumped(t, store, "json")
	for _, running := range []bool{true, false} {
		if !running {
			p.stop(t)
		}
		for text, want := range cases {
			fails(t, 1, want, "import", writeFile(t, folder, "dump", text), "--store", store)
		}
		fails(t, 1, "no such file", "import", filepath.Join(folder, "none"), "--store", store)
		fails(t, 2, "wrong arguments", "import", "--store", store)
		if got := dumped(t, store, "json"); got != before {
			t.Errorf("the store has %s, want %s", got, before)
		}
	}
	none := filepath.Join(folder, "none.db")
	fails(t, 1, "line 1", "import", writeFile(t, folder, "dump", "x\n"), "--store", none)
	if _, err := os.Stat(none); err == nil {
		t.Error("a store was made for a dump that was refused")
	}
}

// All lines that are in conflict are listed, up to a bound, and nothing is imported.
func TestImportListsConflicts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	var dump strings.Builder
	for i := range 40 {
		name, taken := fmt.Sprintf("Room %d", i), i%3 != 0
		if taken {
			request(t, p, fmt.Sprintf(" REGISTER room://127.0.0.1:%d %s", 1000+i, name))
		}
		fmt.Fprintf(&dump, `{"name":%q,"address":"room://127.0.0.1:%d","registered_at":"2026-01-02T03:04:05Z","ttl_seconds":0,"owner":""}`+"\n", name, 2000+i)
	}
	before := dumped(t, store, "json")
	for _, n := range []int{36, 2, 1} {
		text := strings.Join(strings.SplitAfter(dump.String(), "\n")[4:][:n], "")
		file := writeFile(t, folder, "dump", text)
		for _, running := range []bool{true, false} {
			if !running {
				p.stop(t)
			}
			stdout, stderr, status := output("import", file, "--store", store)
			want, more := map[int]int{36: 20, 2: 2, 1: 0}[n], " and 23 more lines are in conflict"
			if status != 1 || strings.Count(stdout, "\n") != want || strings.Contains(stderr, more) != (n == 36) || strings.Count(stderr, "\n") > 1 {
				t.Errorf("%d lines: status %d, %q, %q", n, status, stdout, stderr)
			}
			if n == 36 && !strings.Contains(stdout, file+`, line 2: "Room 5" is registered already, at room://127.0.0.1:1005`+"\n") {
				t.Errorf("the list is %q", stdout)
			}
			if got := dumped(t, store, "json"); got != before {
				t.Fatalf("%d lines: something was imported", n)
			}
			if !running {
				p = serveProcess(t, store, "127.0.0.1:0")
			}
		}
	}
}

// What is to be imported can come from a pipe, and be nothing at all.
func TestImportFromAPipe(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	pipe := func(text string) string {
		t.Helper()
		c := registryCommand("import", "-", "--store", store)
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Error(err)
		}
		return string(out)
	}
	for _, c := range [][2]string{
		{"", "imported 0 registrations\n"}, {dumpOfOne + "\n", "imported 1 registration\n"},
		{dumpOfMore + dumpOfOne, "imported 1 registration; 1 already registered\n"},
	} {
		if got := pipe(c[0]); got != c[1] {
			t.Errorf("import printed %q, want %q", got, c[1])
		}
	}
	if got := strings.Count(dumped(t, store, "json"), "\n"); got != 2 {
		t.Errorf("%d rooms are registered", got)
	}
}

// What a program printed that wrote an earlier format of the database is
// imported; the database itself is refused, with what to do instead.
func TestImportOfOlderFormats(t *testing.T) {
	const kept = "../storage/bolt/testdata/"
	store := filepath.Join(t.TempDir(), "rooms.db")
	for old, c := range map[string]struct{ dump, format string }{
		"format1.db": {"format1.json", "json"}, "format2.db": {"format2.csv", "csv"},
	} {
		want, err := os.ReadFile(kept + c.dump)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(kept + old)
		if err != nil {
			t.Fatal(err)
		}
		path := writeFile(t, filepath.Dir(store), old, string(file))
		for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--http", "off"}, {"dump"}, {"verify"}, {"import", kept + c.dump}} {
			fails(t, 1, "written by an older Foyer; dump it with that one and import the dump into a new database, with `registry dump --format json` and `registry import`",
				append(args, "--store", path)...)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(file) {
			t.Errorf("%s was changed, %v", old, err)
		}
		succeeds(t, []string{"imported "}, "import", kept+c.dump, "--store", store)
		if c.format == "csv" { // has a column more now, which is empty
			lines := strings.SplitAfter(string(want), "\n")
			lines[0] = strings.Replace(lines[0], "\n", ",exits\n", 1)
			for i := range lines[1:] {
				lines[1+i] = strings.Replace(lines[1+i], "\n", ",\n", 1)
			}
			want = []byte(strings.Join(lines, ""))
		}
		if got := dumped(t, store, c.format); got != string(want) {
			t.Errorf("the dump is %s, want %s", got, want)
		}
		if err := os.Remove(store); err != nil {
			t.Fatal(err)
		}
	}
}

// largeDump returns the dump of a world that takes two transactions, and its names.
func largeDump() (text string, rooms map[string]string) {
	rooms = map[string]string{}
	var b strings.Builder
	for i := range discovery.ImportBatch + 1000 {
		name, address := fmt.Sprintf("Cell %06d", i), fmt.Sprintf("room://cell-%d.example:1", i)
		rooms[name] = address
		fmt.Fprintf(&b, `{"name":"%s","address":"%s","registered_at":"2026-01-31T20:15:04.123Z","ttl_seconds":86400,"owner":"","from":"192.0.2.1"}`+"\n", name, address)
	}
	return b.String(), rooms
}

// While rooms register, a world is imported, by a registry that is killed amid
// that. What was answered is there, of the dump each transaction is there or not,
// and to import it again is all that it takes.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	text, want := largeDump()
	file := writeFile(t, folder, "dump", text)
	p := serveProcess(t, store, "127.0.0.1:0")
	addr := p.addr
	w := &worker{conn: dial(t, addr), rand: rand.New(rand.NewPCG(seed, 0)), name: "w", rooms: map[string]string{}}
	steps := func(until func() bool) {
		t.Helper()
		for !until() {
			if err := w.step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := func() <-chan string {
		c := registryCommand("import", file, "--store", store)
		done := make(chan string, 1)
		go func() {
			out, _ := c.CombinedOutput()
			done <- string(out)
		}()
		return done
	}
	isThere := func(name string) func() bool {
		return func() bool {
			reply, err := w.ask("@id=" + newID() + " LOOKUP " + name)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(reply, " OK ")
		}
	}
	done := begin()
	steps(isThere("Cell 000000")) // of the first transaction
	p.kill()
	t.Logf("the import said %q", <-done)
	p = serveProcess(t, store, addr)
	imported := 0
	for _, r := range rooms(t, store) {
		if want[string(r.Name)] != "" {
			imported++
		}
	}
	t.Logf("%d of %d registrations were imported", imported, len(want))
	if imported != discovery.ImportBatch && imported != len(want) {
		t.Errorf("%d of %d registrations were imported", imported, len(want))
	}
	if err := w.check(0); err != nil {
		t.Error(err)
	}

	done = begin()
	said := ""
	steps(func() bool {
		select {
		case said = <-done:
		default:
		}
		return said != ""
	})
	if wanted := fmt.Sprintf("imported %d registrations; %d already registered\n", len(want)-imported, imported); said != wanted {
		t.Errorf("the import said %q, want %q", said, wanted)
	}
	maps.Copy(want, w.rooms)
	all := rooms(t, store)
	for _, r := range all {
		if want[string(r.Name)] != string(r.Address) {
			t.Errorf("%q is at %s, want %q", r.Name, r.Address, want[string(r.Name)])
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d rooms are registered, want %d", len(all), len(want))
	}
	if err := w.check(0); err != nil {
		t.Error(err)
	}
	p.stop(t)
	succeeds(t, []string{"no faults found"}, "verify", "--store", store)
}

// An import without a registry that is killed leaves a store that can be opened,
// and can be done again.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	text, want := largeDump()
	file := writeFile(t, folder, "dump", text)
	c := registryCommand("import", file, "--store", store)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		if info, err := os.Stat(store); err == nil && info.Size() > 1<<20 {
			break // something of the first transaction is written
		} else if time.Now().After(late) {
			t.Fatal("nothing is imported")
		}
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	there := strings.Count(dumped(t, store, "json"), "\n")
	if there != 0 && there != discovery.ImportBatch && there != len(want) {
		t.Errorf("%d of %d registrations were imported", there, len(want))
	}
	t.Logf("%d registrations were imported", there)
	if stdout, stderr, status := output("import", file, "--store", store); status != 0 || !strings.HasPrefix(stdout, "imported "+strconv.Itoa(len(want)-there)+" registrations") {
		t.Errorf("import: status %d, %q, %s", status, stdout, stderr)
	}
	if got := dumped(t, store, "json"); got != text {
		t.Errorf("the dump is of %d bytes, want %d", len(got), len(text))
	}
}
