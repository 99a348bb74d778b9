package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
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

// behind opens a file as if it were large, shows it to see, which may be nil,
// while it is being looked at, and returns the error of opening it or what was
// found wrong behind that. Then nothing can be done with the store but look-ups,
// and the file has not been changed.
func behind(t *testing.T, path string, see func(*Store)) error {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, &Options{pace: quick, noSync: true})
	if err == nil {
		defer s.Close()
		if see != nil {
			see(s)
		}
		err = s.awaitIndexes()
		if err == nil {
			return nil
		}
		_, listErr := s.List("", 1)
		_, historyErr := s.History("room 1")
		for _, err := range []error{listErr, historyErr, s.Update(storage.Instant{}, func(storage.Tx) error { return nil })} {
			if !errors.Is(err, foyer.ErrUnavailable) || !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("what waited got %v", err)
			}
		}
		s.Close()
	}
	if text := err.Error(); strings.Contains(text, "\n") || strings.Count(text, path) != 1 {
		t.Errorf("not one line with the path once: %q", text)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s was changed, %v", path, err)
	}
	return err
}

// TestDamage damages files at random places. Each is refused, or what it holds
// is what it held before. One that is taken for large may be refused after it has
// been opened; what is found in it until then is right or an error.
func TestDamage(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	folder := t.TempDir()
	path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "damaged.db")
	refused, opened := 0, 0
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
			err = behind(t, copied, func(s *Store) {
				opened++
				for i := range names + 3 {
					name := fmt.Appendf(nil, "room %x", i)
					got, err := s.Find(name)
					want, wantErr := model.Find(name)
					if !errors.Is(err, storage.ErrDamaged) && (got != want || !errors.Is(err, wantErr)) {
						t.Errorf("%s: Find(%q) is %+v, %v; want %+v, %v", what, name, got, err, want, wantErr)
					}
				}
			})
			if err != nil {
				refused++
				if !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrNotDatabase) {
					t.Errorf("%s: refused with %v", what, err)
				}
			}
			if err := os.WriteFile(copied, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s, smallErr := Open(copied, &Options{pace: quick, noSync: true, large: math.MaxUint64})
			if (smallErr == nil) != (err == nil) {
				t.Errorf("%s: %v, but %v if it is large", what, smallErr, err)
			}
			if smallErr != nil {
				continue
			}
			if err := walk.Compare(s, model); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			s.Close()
		}
		os.Remove(path)
	}
	t.Logf("%d of %d were refused; %d were opened first", refused, 3*rounds, opened)
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
		for _, file := range [][]byte{b, patch} {
			examine(bytes.NewReader(file), int64(len(file)), math.MaxUint64, nil)
			x, err := examine(bytes.NewReader(file), int64(len(file)), 0, nil)
			if err != nil {
				continue
			}
			for i := range 20 {
				x.look(fmt.Sprintf("room %x", i))
			}
		}
	})
}

// TestPageHeads makes every page that is in use longer, or another one, than it
// is. bbolt would free, and overwrite, pages of others along with it, or count
// for hours. A large file may be opened first, but is not changed.
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
			if err := behind(t, path, nil); !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("byte %d of the %s page %d of a large file: %v", at, kind, id, err)
			}
		}
	}
}

// longName returns a name of which so few go on a page that branches have branches.
func longName(i int) string { return fmt.Sprintf("%s room %x", strings.Repeat("long", 40), i) }

// lookedAt returns the file of a store of that many names, and what the rooms
// have of each.
func lookedAt(t *testing.T, names int) (file []byte, records map[string][]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
		for i := range names {
			r := foyer.Registration{Name: foyer.Name(longName(i)), Address: foyer.Address(fmt.Sprintf("room://h:%d", i))}
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	x, err := examine(bytes.NewReader(file), int64(len(file)), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	records = map[string][]byte{}
	for i := range names {
		name := longName(i)
		if records[name], err = x.look(name); err != nil || records[name] == nil {
			t.Fatalf("%q: %q, %v", name, records[name], err)
		}
		if b, err := x.look(name + "+"); b != nil || err != nil {
			t.Fatalf("%q is not there: %q, %v", name+"+", b, err)
		}
	}
	return file, records
}

// TestLookAtDamage damages the pages of rooms. Either the outline shows it, or
// each record that is asked for is what it was, or an error: none that is there
// is missed.
func TestLookAtDamage(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	file, records := lookedAt(t, 400)
	pages, err := openPages(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	buckets, err := pages.buckets()
	if err != nil {
		t.Fatal(err)
	}
	var branches, leaves []uint64
	err = pages.walkBranches(buckets[string(bucketRooms)], func(in subtree) error {
		leaves = append(leaves, in.page)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range pages.pages {
		if pages.reached[id/64].Load()>>(id%64)&1 != 0 && native.Uint16(file[id*pageSize+8:]) == branchPage {
			branches = append(branches, id)
		}
	}
	if len(branches) < 3 {
		t.Fatalf("the branches are %v, the leaves %v", branches, leaves)
	}
	refused, missed, found := 0, 0, 0
	look := func(what string, bad []byte) {
		x, err := examine(bytes.NewReader(bad), int64(len(bad)), 0, nil)
		if err != nil {
			refused++
			return
		}
		errs := 0
		for name, want := range records {
			b, err := x.look(name)
			if err != nil {
				errs++
			} else if !bytes.Equal(b, want) {
				t.Errorf("%s: %q is %q, %v; want %q", what, name, b, err, want)
			}
		}
		switch _, err := examine(bytes.NewReader(bad), int64(len(bad)), math.MaxUint64, nil); {
		case err == nil && errs > 0:
			t.Errorf("%s: %d errors, but all is in order", what, errs)
		case errs > 0:
			missed++
		default:
			found++
		}
	}
	// The keys of a branch, so that many of them still are in order.
	for _, id := range branches {
		page := file[id*pageSize:][:pageSize]
		for i := range int(native.Uint16(page[10:])) {
			at := pageHeader + i*elementSize
			key, size := at+int(native.Uint32(page[at:])), int(native.Uint32(page[at+4:]))
			for _, step := range []byte{1, 0xff, 7, 0xf9} {
				bad := bytes.Clone(file)
				bad[int(id)*pageSize+key+size-1-r.IntN(2)] += step
				look(fmt.Sprintf("key %d of branch %d, %d more", i, id, step), bad)
			}
		}
	}
	for _, id := range append(branches, leaves...) {
		for _, count := range []uint16{0, 1, native.Uint16(file[id*pageSize+10:]) - 1} {
			bad := bytes.Clone(file)
			native.PutUint16(bad[id*pageSize+10:], count)
			look(fmt.Sprintf("page %d with a count of %d", id, count), bad)
		}
	}
	for range 60 {
		id := leaves[r.IntN(len(leaves))]
		if r.IntN(3) == 0 {
			id = branches[r.IntN(len(branches))]
		}
		bad := bytes.Clone(file)
		page, what := bad[id*pageSize:][:pageSize], ""
		switch at := r.IntN(pageSize); r.IntN(4) {
		case 0:
			at = at / 512 * 512
			what = fmt.Sprintf("a sector of zeros at %d", at)
			clear(page[at : at+512])
		case 1:
			other := leaves[r.IntN(len(leaves))]
			what = fmt.Sprintf("what page %d holds", other)
			copy(page[10:], file[other*pageSize+10:][:pageSize-10])
		default:
			what = fmt.Sprintf("a bit at %d", at)
			page[at] ^= 1 << r.IntN(8)
		}
		look(fmt.Sprintf("page %d with %s", id, what), bad)
	}
	t.Logf("of damaged files the outline showed %d, look-ups %d, and %d had no effect on them", refused, missed, found)
	if refused == 0 || missed == 0 {
		t.Error("these are too few")
	}
}

// TestOldRecord gives a record back its age: it is in order, and so is what a
// disk has lost a write to. Only the sums over all tell.
func TestOldRecord(t *testing.T) {
	file, records := lookedAt(t, 400)
	name := longName(7)
	old := bytes.Clone(records[name])
	old[len(old)-1] ^= 1
	sealRecord(old, name)
	at := bytes.Index(file, records[name])
	copy(file[at:], old)
	x, err := examine(bytes.NewReader(file), int64(len(file)), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := x.look(name); err != nil || !bytes.Equal(b, old) {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := examine(bytes.NewReader(file), int64(len(file)), math.MaxUint64, nil); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("%v, want storage.ErrDamaged", err)
	}
	path := filepath.Join(t.TempDir(), "rooms.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := behind(t, path, nil); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("%v, want storage.ErrDamaged", err)
	}
}
