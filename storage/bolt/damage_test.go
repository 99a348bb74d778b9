package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/internal/testenv"
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

// tried opens a file in every way, and returns the error of Open. The errors are one
// line that names the file once, and what was refused is not changed.
func tried(t *testing.T, path string) error {
	t.Helper()
	before, beforeErr := os.ReadFile(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	r, readErr := OpenReadOnly(path)
	if readErr == nil {
		r.Close()
	}
	var problems []string
	verifyErr := Verify(path, func(problem string) { problems = append(problems, problem) })
	if now, err := os.ReadFile(path); !bytes.Equal(before, now) || (beforeErr == nil) != (err == nil) {
		t.Errorf("%s was changed by reading it", path)
	}
	s, err := Open(path, quick)
	if err == nil {
		s.Close()
	}
	if (err == nil) != (readErr == nil) || readErr != nil && verifyErr == nil && len(problems) == 0 {
		t.Errorf("Open: %v; OpenReadOnly: %v; Verify: %q, %v", err, readErr, problems, verifyErr)
	}
	if err == nil && (verifyErr != nil || len(problems) > 0) {
		t.Logf("%s was opened; Verify: %q, %v", path, problems, verifyErr)
	}
	if err == nil {
		return nil
	}
	for _, err := range []error{err, readErr, verifyErr} {
		if err == nil {
			continue
		}
		text := err.Error()
		if strings.Contains(text, "\n") || strings.Count(text, path) != 1 {
			t.Errorf("not one line with the path once: %q", text)
		}
	}
	if after, err := os.ReadFile(path); !bytes.Equal(before, after) || (beforeErr == nil) != (err == nil) {
		t.Errorf("%s was changed by an attempt to open it", path)
	}
	if now, _ := os.ReadDir(filepath.Dir(path)); len(now) != len(entries) {
		t.Errorf("the attempt to open %s left files behind: %v", path, now)
	}
	return err
}

// refusal returns the error of a file that must be refused.
func refusal(t *testing.T, path string) error {
	t.Helper()
	err := tried(t, path)
	if err == nil {
		t.Errorf("%s was opened", path)
	}
	return err
}

// edit changes a file with bbolt.
func edit(t *testing.T, path string, fn func(btx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, boltOptions(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// editHidden does the same, and writes the number of its transaction into the log's
// extent: what bears no other mark is not noticed by that.
func editHidden(t *testing.T, path string, fn func(btx *bbolt.Tx) error) {
	t.Helper()
	edit(t, path, func(btx *bbolt.Tx) error {
		meta := btx.Bucket(bucketMeta)
		x, err := readExtentOf(meta.Get(keyExtent))
		if err != nil {
			return err
		}
		x.Txid = uint64(btx.ID())
		return errors.Join(fn(btx), meta.Put(keyExtent, x.encode()))
	})
}

// readExtentOf decodes an extent, whatever transaction it is of.
func readExtentOf(b []byte) (x extent, err error) {
	if len(b) < 28 {
		return x, errors.New("no extent")
	}
	x.Head, x.End, x.Txid = binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint64(b[20:])
	x.last = bytes.Clone(b[28:])
	return x, nil
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
		if err := errors.Join(db.Update(fill), db.Close()); err != nil {
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
	if tried(t, good) != nil {
		t.Fatal("the good file is refused")
	}
	edited := func(name string, fn func(*bbolt.Tx) error) string {
		p := write(name, string(whole))
		editHidden(t, p, fn)
		return p
	}
	version := func(n byte) func(btx *bbolt.Tx) error {
		return func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Put(keyFormat, []byte{0, 0, 0, n}) }
	}
	first, err := os.ReadFile("testdata/format1.db")
	if err != nil {
		t.Fatal(err)
	}
	_, _, n, err := metasOf(good)
	if err != nil {
		t.Fatal(err)
	}
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
		{write("the first format", string(first)), storage.ErrOlderFormat},
		{edited("older", version(oldestFormat-1)), storage.ErrOlderFormat},
		{edited("newer", version(formatVersion+1)), storage.ErrNewerFormat},
		{edited("no format", func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Delete(keyFormat) }), storage.ErrNotDatabase},
		{edited("no snapshot", func(btx *bbolt.Tx) error { return btx.DeleteBucket(bucketSnapshot) }), storage.ErrDamaged},
		{edited("no log", func(btx *bbolt.Tx) error { return btx.DeleteBucket(bucketLog) }), storage.ErrNotDatabase},
		{edited("no state", func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Delete(keyState) }), storage.ErrDamaged},
		{write("cut in half", string(whole[:len(whole)/2])), storage.ErrDamaged},
		{write("cut a little", string(whole[:n*pageSize-1])), storage.ErrDamaged},
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
	if d := time.Since(start); d > 3*lockTimeout+2*time.Second {
		t.Errorf("three refusals took %v", d)
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
	seed := testenv.Seed(t)
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
			b := bytes.Clone(whole)
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
			what = fmt.Sprintf("%d names, round %d, %s", names, i, what)
			if err := os.WriteFile(copied, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := OpenReadOnly(copied); err == nil {
				if err := walk.Compare(s, model); err != nil {
					t.Errorf("%s: read: %v", what, err)
				}
				s.Close()
			}
			if err := tried(t, copied); err != nil {
				refused++
				if !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrNotDatabase) {
					t.Errorf("%s: refused with %v", what, err)
				}
				continue
			}
			s := openQuick(t, copied)
			if err := walk.Compare(s, model); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			s.Close()
		}
		os.Remove(path)
	}
	t.Logf("%d of %d were refused", refused, 3*rounds)
	if refused < rounds/2 {
		t.Error("that is too little")
	}
}

// FuzzOpen damages a small database in ways of the fuzzer's choice. It is
// enough if nothing panics and it comes to an end.
func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "rooms.db")
	s := openQuick(f, path)
	step := storetest.NewWalk(1, 20)
	for range 30 {
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
		damaged := filepath.Join(t.TempDir(), "damaged.db")
		for _, content := range [][]byte{b, patch} {
			if err := os.WriteFile(damaged, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := OpenReadOnly(damaged); err == nil {
				s.Close()
			}
		}
	})
}

// fileWithPages returns a file of a store with branches, whose pages in use are
// those of kinds.
func fileWithPages(t *testing.T) (path string, whole []byte, kinds map[uint64]string, free []uint64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	for step := range 40 {
		err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
			for i := step * 20; i < step*20+20; i++ {
				r := foyer.Registration{Name: longName(i), Address: foyer.Address(fmt.Sprintf("room://h:%d", i))}
				if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if whole, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	kinds = map[uint64]string{}
	if err := db.View(func(btx *bbolt.Tx) error {
		for id := 2; ; id++ {
			info, err := btx.Page(id)
			switch {
			case err != nil || info == nil:
				return err
			case info.Type == "free":
				free = append(free, uint64(id))
			default:
				kinds[uint64(id)] = info.Type
				id += info.OverflowCount
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, kind := range kinds {
		counts[kind]++
	}
	if counts["branch"] < 2 || counts["leaf"] < 20 || counts["freelist"] != 1 || len(free) < 3 {
		t.Fatalf("there are the pages %v, and %d are free", counts, len(free))
	}
	return path, whole, kinds, free
}

// longName returns a name of which so few go on a page that trees have branches.
func longName(i int) foyer.Name {
	return foyer.Name(fmt.Sprintf("%s room %x", strings.Repeat("long", 40), i))
}

// TestPageHeads makes every page that is in use longer, or another one, than it
// is. bbolt would free, and overwrite, pages of others along with it, or count
// for hours.
func TestPageHeads(t *testing.T) {
	path, whole, kinds, _ := fileWithPages(t)
	for id, kind := range kinds {
		for _, at := range []uint64{0, 12, 15} { // number and overflow, low and high
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

// TestPagesInUse damages the list of free pages, branches and meta pages in the ways
// that would cost data only later.
func TestPagesInUse(t *testing.T) {
	path, whole, kinds, free := fileWithPages(t)
	var list, branch, leaf uint64
	for id, kind := range kinds {
		switch kind {
		case "freelist":
			list = id
		case "branch":
			if native.Uint16(whole[id*pageSize+10:]) > 2 {
				branch = id
			}
		case "leaf":
			leaf = id
		}
	}
	refused := func(what string, change func(b []byte)) {
		t.Helper()
		bad := bytes.Clone(whole)
		change(bad)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := refusal(t, path); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	entry := func(b []byte, i int) []byte { return b[list*pageSize+pageHeader+uint64(i)*8:] }
	count := native.Uint16(whole[list*pageSize+10:])
	if int(count) != len(free) || native.Uint64(entry(whole, 0)) != free[0] {
		t.Fatalf("%d pages are free, and the list has %d", len(free), count)
	}
	for _, used := range []uint64{0, 1, list, branch, leaf, 1 << 40} {
		refused(fmt.Sprintf("page %d among those that are free", used), func(b []byte) { native.PutUint64(entry(b, 0), used) })
	}
	refused("a free page twice", func(b []byte) { copy(entry(b, 0)[:8], entry(b, 1)) })
	refused("a free page less", func(b []byte) { native.PutUint16(b[list*pageSize+10:], count-1) })
	refused("a free page more", func(b []byte) { native.PutUint16(b[list*pageSize+10:], count+1) })
	refused("more free pages than fit", func(b []byte) { native.PutUint16(b[list*pageSize+10:], 0xFFFE) })
	refused("a list that is said to be long", func(b []byte) { native.PutUint16(b[list*pageSize+10:], 0xFFFF) })

	child := func(b []byte, i int) []byte { return b[branch*pageSize+pageHeader+uint64(i)*elementSize+8:] }
	refused("a page that is reached twice", func(b []byte) { copy(child(b, 0)[:8], child(b, 1)) })
	refused("a branch that leads to itself", func(b []byte) { native.PutUint64(child(b, 0), branch) })
	refused("a branch that leads to a meta page", func(b []byte) { native.PutUint64(child(b, 0), 1) })
	refused("a branch that leads to a free page", func(b []byte) { native.PutUint64(child(b, 0), free[0]) })
	refused("a branch that leads out of the file", func(b []byte) { native.PutUint64(child(b, 0), 1<<40) })
	refused("a branch that has lost its end", func(b []byte) {
		native.PutUint16(b[branch*pageSize+10:], native.Uint16(b[branch*pageSize+10:])-1)
	})
	refused("a branch with too many", func(b []byte) { native.PutUint16(b[branch*pageSize+10:], 0xFFFF) })
	refused("a leaf that goes on over the next page", func(b []byte) { native.PutUint32(b[leaf*pageSize+12:], native.Uint32(b[leaf*pageSize+12:])+1) })

	for id := range uint64(2) {
		meta := func(b []byte) []byte { return b[id*pageSize+pageHeader:] }
		for at := range uint64(64) {
			if at >= 12 && at < 16 { // flags that mean nothing, but the checksum covers them
				continue
			}
			refused(fmt.Sprintf("byte %d of meta page %d", at, id), func(b []byte) { meta(b)[at] ^= 0x10 })
		}
		refused(fmt.Sprintf("meta page %d lost", id), func(b []byte) { clear(b[id*pageSize : (id+1)*pageSize]) })
		refused(fmt.Sprintf("meta page %d with fewer pages", id), func(b []byte) {
			for other := range uint64(2) { // both, so that it counts
				m := b[other*pageSize+pageHeader:]
				native.PutUint64(m[40:], 5+id)
				sum := fnv.New64a()
				sum.Write(m[:56])
				native.PutUint64(m[56:], sum.Sum64())
			}
		})
	}
}

// TestPutBack puts back, with whatever checksums they had, what the file held some
// Updates before: a meta page, a page, a piece, an extent, a state, a block.
func TestPutBack(t *testing.T) {
	folder := t.TempDir()
	path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "copied.db")
	s := openQuick(t, path)
	walk := storetest.NewWalk(testenv.Seed(t), 60)
	for range 200 {
		walk.Next().Carry(s)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	oldPieces := piecesOf(t, s.file)
	oldExtent := s.file.extent
	var oldState []byte
	s.file.view(func(btx *bbolt.Tx) error {
		oldState = bytes.Clone(btx.Bucket(bucketMeta).Get(keyState))
		return nil
	})
	for range 60 {
		walk.Next().Carry(s)
	}
	pieces := piecesOf(t, s.file)
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	hidden := func(what string, fn func(btx *bbolt.Tx) error) {
		t.Helper()
		if err := os.WriteFile(copied, now, 0o600); err != nil {
			t.Fatal(err)
		}
		editHidden(t, copied, fn)
		if err := refusal(t, copied); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.WriteFile(copied, now, 0o600); err != nil {
		t.Fatal(err)
	}
	editHidden(t, copied, func(*bbolt.Tx) error { return nil })
	if err := tried(t, copied); err != nil {
		t.Fatalf("with nothing put back: %v", err)
	}

	old := 0
	for key, value := range pieces {
		then := oldPieces[key]
		if then == "" || then == value {
			continue
		}
		old++
		hidden(fmt.Sprintf("the piece %q", key), func(btx *bbolt.Tx) error {
			return btx.Bucket(bucketSnapshot).Put(pieceKey(key), []byte(then))
		})
	}
	if old < 3 {
		t.Errorf("%d pieces were old", old)
	}
	hidden("all pieces", func(btx *bbolt.Tx) error {
		for key, then := range oldPieces {
			if err := btx.Bucket(bucketSnapshot).Put(pieceKey(key), []byte(then)); err != nil {
				return err
			}
		}
		return nil
	})
	hidden("the state", func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Put(keyState, oldState) })
	hidden("a block", func(btx *bbolt.Tx) error {
		k, v := btx.Bucket(bucketLog).Cursor().Last()
		v = bytes.Clone(v)
		v[len(v)/2] ^= 1
		return btx.Bucket(bucketLog).Put(bytes.Clone(k), v)
	})
	for what, block := range map[string]func(c *bbolt.Cursor) ([]byte, []byte){"first": (*bbolt.Cursor).First, "last": (*bbolt.Cursor).Last} {
		hidden("the "+what+" block lost", func(btx *bbolt.Tx) error {
			k, _ := block(btx.Bucket(bucketLog).Cursor())
			return btx.Bucket(bucketLog).Delete(bytes.Clone(k))
		})
	}
	hidden("a block more", func(btx *bbolt.Tx) error {
		return btx.Bucket(bucketLog).Put(blockKey(s.file.extent.blocks()+1), make([]byte, blockSize))
	})
	hidden("all pieces damaged", func(btx *bbolt.Tx) error {
		for key, value := range pieces {
			b := []byte(value)
			b[len(b)-1] ^= 1
			if err := btx.Bucket(bucketSnapshot).Put(pieceKey(key), b); err != nil {
				return err
			}
		}
		return nil
	})
	// The extent, and a state, of an older transaction: without a checksum that is
	// wrong, only the transaction's number tells.
	if err := os.WriteFile(copied, now, 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, copied, func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Put(keyExtent, oldExtent.encode()) })
	if err := refusal(t, copied); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("the extent: %v", err)
	}
	if err := os.WriteFile(copied, now, 0o600); err != nil {
		t.Fatal(err)
	}
	edit(t, copied, func(btx *bbolt.Tx) error { return nil })
	if err := refusal(t, copied); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("a transaction of somebody else's: %v", err)
	}

	// Whole pages as they were: what is refused is damaged, what isn't holds what it did.
	changed, refused := 0, 0
	for id := 0; (id+1)*pageSize <= min(len(before), len(now)); id++ {
		then := before[id*pageSize : (id+1)*pageSize]
		if bytes.Equal(then, now[id*pageSize:(id+1)*pageSize]) {
			continue
		}
		changed++
		b := bytes.Clone(now)
		copy(b[id*pageSize:], then)
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err := tried(t, copied)
		if err != nil {
			refused++
			if !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("page %d: %v", id, err)
			}
			continue
		}
		if err := os.WriteFile(path, now, 0o600); err != nil {
			t.Fatal(err)
		}
		good, bad := openQuick(t, path), openQuick(t, copied)
		if err := walk.Compare(bad, good); err != nil {
			t.Errorf("page %d: %v", id, err)
		}
		good.Close()
		bad.Close()
	}
	t.Logf("of %d pages as they were %d were refused", changed, refused)
	if refused < 5 {
		t.Error("that is too little")
	}
}
