package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer/room"
	"foyer/storage"
	"foyer/storage/storetest"
)

func mustFill(t *testing.T, path string, steps, names int, seed uint64) (*storetest.Walk, *storetest.Model) {
	t.Helper()
	walk, model := storetest.NewWalk(seed, names), storetest.NewModel(storetest.Sabotage{})
	s := openQuick(t, path)
	defer s.Close()
	for range steps {
		step := walk.Next()
		step.Carry(s)
		step.Carry(model)
	}
	// As a killed process leaves it: with a log to be replayed.
	copyFile(t, path, path+".killed")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".killed", path); err != nil {
		t.Fatal(err)
	}
	return walk, model
}

// refusal returns the error of opening a file that must be refused, after making
// sure that it is one line, names the file, and has changed nothing.
func refusal(t *testing.T, path string) error {
	t.Helper()
	before, beforeErr := os.ReadFile(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	s, err := Open(path, nil)
	if err == nil {
		s.Close()
		t.Fatalf("%s was opened", path)
	}
	_, readErr := OpenReadOnly(path)
	if readErr == nil {
		t.Fatalf("%s was opened for reading", path)
	}
	for _, err := range []error{err, readErr} {
		if text := err.Error(); strings.Contains(text, "\n") || strings.Count(text, path) != 1 {
			t.Errorf("not one line with the path once: %q", text)
		}
	}
	after, afterErr := os.ReadFile(path)
	if string(before) != string(after) || (beforeErr == nil) != (afterErr == nil) {
		t.Errorf("%s was changed by an attempt to open it", path)
	}
	if now, _ := os.ReadDir(filepath.Dir(path)); len(now) != len(entries) {
		t.Errorf("the attempt to open %s left files behind: %v", path, now)
	}
	return err
}

func TestRefusals(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	write := func(name, content string) string {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	foreign := func(name string, options *bbolt.Options, fill func(*bbolt.Tx) error) string {
		t.Helper()
		db, err := bbolt.Open(path(name), 0o600, options)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(fill); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	bucket := func(btx *bbolt.Tx) error { _, err := btx.CreateBucket([]byte("theirs")); return err }
	good := path("good")
	mustFill(t, good, 100, 50, 1)
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := openPages(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	newer := write("newer", string(whole))
	db, err := bbolt.Open(newer, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(btx *bbolt.Tx) error {
		return btx.Bucket(bucketMeta).Put(keyFormat, []byte{0, 0, 0, formatVersion + 1})
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()

	for _, c := range []struct {
		path string
		want error
	}{
		{path("missing/rooms.db"), fs.ErrNotExist},
		{folder, storage.ErrNotDatabase},
		{write("empty", ""), storage.ErrNotDatabase},
		{write("short", "short"), storage.ErrNotDatabase},
		{write("text", strings.Repeat("This is no database.\n", 10000)), storage.ErrNotDatabase},
		{write("zeros", string(make([]byte, 1<<16))), storage.ErrNotDatabase},
		{foreign("foreign", nil, bucket), storage.ErrNotDatabase},
		{foreign("foreign-empty", nil, func(*bbolt.Tx) error { return nil }), storage.ErrNotDatabase},
		{foreign("foreign-nofreelist", &bbolt.Options{NoFreelistSync: true}, bucket), storage.ErrNotDatabase},
		{newer, storage.ErrNewerFormat},
		{write("cut in half", string(whole[:len(whole)/2])), storage.ErrDamaged},
		{write("cut a little", string(whole[:pages.pages*pageSize-1])), storage.ErrDamaged},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			if err := refusal(t, c.path); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if _, err := OpenReadOnly(path("nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a file that is not there: %v", err)
	}
	if _, err := os.Stat(path("nothing")); err == nil {
		t.Error("OpenReadOnly has made a file")
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	start := time.Now()
	if err := refusal(t, path); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("%v, want storage.ErrLocked", err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("two refusals took %v", d)
	}
	s.Close()
	r, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenReadOnly(path) // readers do not keep each other out
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("beside a reader: %v, want storage.ErrLocked", err)
	}
	r.Close()
	other.Close()
	openQuick(t, path).Close()
}

func TestMode(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "rooms.db")
	openQuick(t, path).Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fileMode {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("creating a database left %v", entries)
	}
}

// TestDamage damages files at random places. Each is refused, or what it holds
// is what it held before.
func TestDamage(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	folder := t.TempDir()
	path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "damaged.db")
	refused := 0
	const rounds = 50
	for _, names := range []int{4, 60, 1000} {
		walk, model := mustFill(t, path, 150, names, seed)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rounds {
			b := append([]byte(nil), whole...)
			what := ""
			switch at := r.IntN(len(b)); r.IntN(5) {
			case 0:
				b, what = b[:at], fmt.Sprintf("cut off at %d", at)
			case 1:
				at -= at % 512
				clear(b[at : at+512])
				what = fmt.Sprintf("a sector of zeros at %d", at)
			case 2:
				at, from := at/pageSize*pageSize, r.IntN(len(b)/pageSize)*pageSize
				copy(b[at:at+pageSize], b[from:])
				what = fmt.Sprintf("page at %d written over by that at %d", at, from)
			default:
				b[at] ^= 1 << r.IntN(8)
				what = fmt.Sprintf("a bit at %d", at)
			}
			if err := os.WriteFile(copied, b, 0o600); err != nil {
				t.Fatal(err)
			}
			what = fmt.Sprintf("%d names, round %d, %s", names, i, what)
			reader, err := OpenReadOnly(copied)
			if err == nil {
				err = walk.Compare(readOnlyStore{reader}, model)
				reader.Close()
				if err != nil && !errors.Is(err, storage.ErrDamaged) {
					t.Errorf("%s: read: %v", what, err)
				}
			}
			s, err := Open(copied, &Options{pace: quick, noSync: true})
			if err != nil {
				refused++
				if !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrNotDatabase) {
					t.Errorf("%s: refused with %v", what, err)
				}
				continue
			}
			if err := walk.Compare(s, model); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			s.Close()
		}
		os.Remove(path)
	}
	t.Logf("%d of %d were refused", refused, 3*rounds)
}

func TestOutcomeLimit(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "rooms.db"), &Options{MaxOutcomes: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := storage.Instant{Lease: time.Hour}
	record := func(id byte) error {
		return s.Update(now, func(tx storage.Tx) error { return tx.Record(storage.Outcome{ID: room.ID{id}}) })
	}
	for id := range byte(3) {
		if err := record(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := record(3); !errors.Is(err, room.ErrBusy) {
		t.Errorf("%v, want room.ErrBusy", err)
	}
	now.Lease += storage.OutcomeRetention + time.Second
	if err := s.Update(now, func(storage.Tx) error { return nil }); err != nil { // lets go of old ones
		t.Fatal(err)
	}
	if err := record(3); err != nil {
		t.Errorf("after the retention: %v", err)
	}
}

// FuzzExamine damages a small database in ways of the fuzzer's choice. It is
// enough if nothing panics and it comes to an end.
func FuzzExamine(f *testing.F) {
	path := filepath.Join(f.TempDir(), "rooms.db")
	s, err := Open(path, nil)
	if err != nil {
		f.Fatal(err)
	}
	step := storetest.NewWalk(1, 20)
	for range 5 {
		step.Next().Carry(s)
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(3*pageSize), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, at uint16, patch []byte) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], patch)
		examine(bytes.NewReader(b), int64(len(b)), defaultLarge, nil)
		examine(bytes.NewReader(patch), int64(len(patch)), defaultLarge, nil)
	})
}

// TestPageHeads makes every page that is in use longer, or another one, than it
// is. bbolt would free, and overwrite, pages of others along with it, or count
// for hours.
func TestPageHeads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	mustFill(t, path, 600, 200, 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	used := map[int]string{} // pages by their number
	if err := db.View(func(btx *bbolt.Tx) error {
		for id := 2; id < len(whole)/pageSize; id++ {
			if info, err := btx.Page(id); err != nil {
				return err
			} else if info != nil && info.Type != "free" {
				used[id] = info.Type
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if len(used) < 10 {
		t.Fatalf("there are only the pages %v", used)
	}
	for id, kind := range used {
		for _, at := range []int{0, 12, 15} { // number and overflow, low and high
			bad := bytes.Clone(whole)
			bad[id*pageSize+at] ^= 0x81
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := refusal(t, path); !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("byte %d of the %s page %d: %v", at, kind, id, err)
			}
		}
	}
}
