package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/storetest"
)

// A numbered store is changed by Updates of which each registers a name, ends
// another and records an outcome: how many there were says what it holds.
type numbered struct {
	*Store
	t *testing.T
	n int // Updates
}

func idOfUpdate(i int) foyer.ID { return idOf(foyer.Name(fmt.Sprintf("%016d", i))) }

func numberedName(i int) foyer.Name { return foyer.Name(fmt.Sprintf("%d%09d", i%7, i)) }

// ends returns the name that Update i ends: of three, one stays for good.
func ends(i int) int { return i/3*2 - i%2 }

func (s *numbered) update() error {
	i := s.n + 1
	now := storage.Instant{Wall: time.UnixMilli(int64(1e12 + i)).UTC(), Lease: time.Duration(i) * time.Second}
	err := s.Update(now, func(tx storage.Tx) error {
		if err := tx.Record(storage.Outcome{ID: idOfUpdate(i), Reply: []byte("OK")}); err != nil {
			return err
		}
		r := foyer.Registration{Name: numberedName(i), Address: foyer.Address(fmt.Sprintf("room://host:%d", i)), RegisteredAt: now.Wall}
		if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: r}); err != nil {
			return err
		}
		if gone, err := tx.Get(numberedName(ends(i))); err == nil {
			return tx.Apply(storage.Event{Kind: storage.Deregistered, Time: now.Wall, Registration: gone})
		}
		return nil
	})
	if err == nil {
		s.n = i
	}
	return err
}

// check compares what a store holds with what it should after n Updates, and
// returns n, which the outcomes say.
func (s *numbered) check(r *Store, atMost int) (n int) {
	s.t.Helper()
	n = int(r.Last().Lease / time.Second)
	there := map[foyer.Name]bool{}
	for i := 1; i <= n; i++ {
		there[numberedName(i)] = true
		delete(there, numberedName(ends(i)))
	}
	for reg, err := range storage.All(r, 100) {
		if err != nil || !there[reg.Name] {
			s.t.Fatalf("after %d Updates %q is there, %v", n, reg.Name, err)
		}
		delete(there, reg.Name)
	}
	if len(there) > 0 {
		s.t.Fatalf("after %d Updates %d names are missing: %v", n, len(there), there)
	}
	for i := max(1, n-500); i <= n; i++ {
		if !r.Recorded(idOfUpdate(i)) {
			s.t.Fatalf("after %d Updates the outcome of the Update %d is missing", n, i)
		}
	}
	if n > atMost || r.Recorded(idOfUpdate(n+1)) {
		s.t.Fatalf("there were only %d Updates, and the copy says %d", atMost, n)
	}
	return n
}

func newNumbered(t *testing.T, updates int) *numbered {
	t.Helper()
	s := &numbered{Store: openQuick(t, filepath.Join(t.TempDir(), "rooms.db")), t: t}
	t.Cleanup(func() { s.Close() })
	for range updates {
		if err := s.update(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// during makes Updates until fn returns.
func (s *numbered) during(fn func()) {
	done := make(chan struct{})
	var updates sync.WaitGroup
	updates.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := s.update(); err != nil {
					s.t.Error(err)
					return
				}
			}
		}
	})
	fn()
	close(done)
	updates.Wait()
}

// A copy that is made amid Updates is whole, and is what one of them left.
func TestCopy(t *testing.T) {
	s := newNumbered(t, 1000)
	amid := 0
	for i := range 20 {
		path := filepath.Join(t.TempDir(), "copy.db")
		began, steps := s.n, 0
		s.during(func() {
			if err := s.Copy(t.Context(), path, func(int64, int64) { steps++ }); err != nil {
				t.Fatal(err)
			}
		})
		verify(t, path)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != fileMode {
			t.Errorf("the copy: %v, %v", info, err)
		}
		r := openQuick(t, path)
		n := s.check(r, s.n)
		if n < began {
			t.Fatalf("copy %d is of the Update %d, before it began at %d", i, n, began)
		}
		if n > began {
			amid++
		}
		// It is a database like any other.
		c := numbered{Store: r, t: t, n: n}
		for range 50 {
			if err := c.update(); err != nil {
				t.Fatal(err)
			}
		}
		c.check(r, c.n)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if steps < 10 {
			t.Fatalf("the copy took %d steps", steps)
		}
	}
	if amid < 10 {
		t.Errorf("%d of 20 copies had Updates while they were made", amid)
	}
}

// Copies and compacted files hold what the model does.
func TestCopyLikeTheModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	defer func() { s.Close() }()
	walk, model := storetest.NewWalk(testenv.Seed(t), 60), storetest.NewModel(storetest.Sabotage{})
	for i := range 20 {
		for range 20 {
			step := walk.Next()
			step.Carry(s)
			step.Carry(model)
		}
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := s.Copy(t.Context(), copied, nil); err != nil {
			t.Fatal(err)
		}
		verify(t, copied)
		wantLike(t, copied, walk, model)
		if _, _, err := s.Compact(t.Context(), path+".new", nil); err != nil {
			t.Fatal(err)
		}
		if err := walk.Compare(s, model); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 { // as a killed process leaves it, and in good order
			left := filepath.Join(t.TempDir(), "left.db")
			copyFile(t, path, left)
			verify(t, left)
			wantLike(t, left, walk, model)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openQuick(t, path)
		}
	}
}

// A file that is compacted amid Updates loses nothing, is known again, and can be
// written and copied on.
func TestCompact(t *testing.T) {
	s := newNumbered(t, 3000)
	path := s.file.path
	size := func() int64 {
		u, err := s.Usage()
		if err != nil {
			t.Fatal(err)
		}
		return u.File
	}
	for range 10 {
		s.during(func() {
			if _, _, err := s.Compact(t.Context(), path+".new", nil); err != nil {
				t.Fatal(err)
			}
		})
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		s.check(s.Store, s.n)
		left := filepath.Join(t.TempDir(), "left.db") // by a process that was killed
		copyFile(t, path, left)
		verify(t, left)
		r := openQuick(t, left)
		if n := s.check(r, s.n); n != s.n {
			t.Errorf("the file is of the Update %d, not of %d", n, s.n)
		}
		r.Close()
		if left, err := filepath.Glob(path + "?*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	}

	// Much is registered and deleted: the file does not get smaller by itself.
	for _, kind := range []storage.Kind{storage.Registered, storage.Deregistered} {
		if err := s.Update(s.Last(), func(tx storage.Tx) error {
			for i := range 20_000 {
				r := foyer.Registration{Name: foyer.Name(fmt.Sprintf("%0200d", i)), Address: foyer.Address(fmt.Sprintf("room://h:%d", i+1))}
				if err := tx.Apply(storage.Event{Kind: kind, Registration: r}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for range 700 { // ten minutes, after which the log is not needed
		if err := s.update(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // completes the snapshot
		t.Fatal(err)
	}
	s.Store = openQuick(t, path)
	before := size()
	was, is, err := s.Compact(t.Context(), path+".new", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after := size(); after > before/2 || was != before || is != after {
		t.Errorf("the file had %d bytes, and has %d; Compact says %d and %d", before, after, was, is)
	}
	if _, err := OpenReadOnly(path); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("opening the new file: %v", err)
	}
}

// A copy ends with an error, and leaves nothing, when the database cannot be
// written, is removed or damaged, when the store is closed, and when the copy is not
// wanted any more.
func TestCopyGivesUp(t *testing.T) {
	// amid calls fn when a copy, or compacting, has made its first step.
	amid := func(t *testing.T, s *Store, fn func()) error {
		t.Helper()
		path := filepath.Join(t.TempDir(), "copy.db")
		var once sync.Once
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := s.Copy(ctx, path, func(done, _ int64) {
			if done > 0 {
				once.Do(fn)
			}
		})
		if err == nil {
			verify(t, path)
		} else if left, globErr := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 || globErr != nil {
			t.Errorf("left behind: %q, %v", left, globErr)
		}
		return err
	}
	t.Run("a commit fails", func(t *testing.T) {
		s := newTroubled(t)
		for i := range 500 {
			if err := s.register(foyer.Name(fmt.Sprintf("room %d", i)), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		err := amid(t, s.Store, func() {
			s.failing(fullDisk)
			if err := s.register("other", time.Second); !errors.Is(err, foyer.ErrUnavailable) {
				t.Errorf("the Update: %v", err)
			}
			if err := s.register("later", time.Second); err != nil {
				t.Error(err)
			}
		})
		if err == nil {
			t.Error("Copy succeeds")
		}
		if err := amid(t, s.Store, func() {}); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		s := newNumbered(t, 500)
		away := func() { os.Rename(s.file.path, s.file.path+".away") }
		if err := amid(t, s.Store, away); !errors.Is(err, storage.ErrRemoved) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Copy: %v", err)
		}
		if _, _, err := s.Compact(t.Context(), s.file.path, nil); err == nil {
			t.Error("Compact succeeds")
		}
	})
	t.Run("replaced", func(t *testing.T) {
		s := newNumbered(t, 500)
		other := filepath.Join(t.TempDir(), "other.db")
		if err := s.Copy(t.Context(), other, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, s.file.path); err != nil {
			t.Fatal(err)
		}
		if err := amid(t, s.Store, func() {}); !errors.Is(err, storage.ErrRemoved) {
			t.Errorf("Copy: %v", err)
		}
		if _, _, err := s.Compact(t.Context(), s.file.path+".new", nil); !errors.Is(err, storage.ErrRemoved) {
			t.Errorf("Compact: %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		s := newNumbered(t, 500)
		if err := amid(t, s.Store, func() { s.Close() }); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy: %v", err)
		}
		if err := s.Copy(t.Context(), filepath.Join(t.TempDir(), "copy.db"), nil); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy of a store that is closed: %v", err)
		}
	})
	t.Run("not wanted", func(t *testing.T) {
		s := newNumbered(t, 500)
		ctx, cancel := context.WithCancel(t.Context())
		path := filepath.Join(t.TempDir(), "copy.db")
		if err := s.Copy(ctx, path, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Errorf("Copy: %v", err)
		}
		if err := s.update(); err != nil {
			t.Error(err)
		}
	})
	t.Run("not to be read", func(t *testing.T) {
		s := newTroubled(t)
		if err := s.register("room", time.Second); err != nil {
			t.Fatal(err)
		}
		s.failing(func(btx *bbolt.Tx) error {
			os.Rename(s.path, s.path+".away")
			return fullDisk(btx)
		})
		s.register("other", time.Second)
		if err := s.Copy(t.Context(), filepath.Join(t.TempDir(), "copy.db"), nil); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy: %v", err)
		}
	})
}

// What is wrong with the pages of the file shows, though the copy is another.
func TestCheckPages(t *testing.T) {
	s := newNumbered(t, 500)
	if err := s.CheckPages(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(s.file.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta := make([]byte, pageSize)
	for id := range int64(2) { // the list of free pages, which only a commit reads
		if _, err := f.ReadAt(meta, id*pageSize); err != nil {
			t.Fatal(err)
		}
		free := native.Uint64(meta[pageHeader+32:])
		if _, err := f.WriteAt([]byte{byte(free) + 1}, int64(free)*pageSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CheckPages(); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("CheckPages: %v", err)
	}
}

// The file of a busy registry does not grow by more than a fifth while it is copied, or
// read page by page, however slowly.
func TestFileDuringSlowCopies(t *testing.T) {
	const names, each = 5000, 250
	s, err := Open(filepath.Join(t.TempDir(), "rooms.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	update := func() { // as many names as before, in a file that is as large as it gets
		t.Helper()
		n++
		now := storage.Instant{Wall: time.UnixMilli(int64(1e12 + n)).UTC(), Lease: time.Duration(n) * 30 * time.Second}
		if err := s.Update(now, func(tx storage.Tx) (err error) {
			for i := range each {
				k, kind := n*each+i, storage.Replaced
				if k < names+each {
					kind = storage.Registered
				}
				r := foyer.Registration{Name: numberedName(k % names), Address: foyer.Address(fmt.Sprintf("room://host:%d", k)), RegisteredAt: now.Wall}
				err = errors.Join(err, tx.Record(storage.Outcome{ID: idOfUpdate(k), Reply: []byte("OK")}),
					tx.Apply(storage.Event{Kind: kind, Time: now.Wall, Registration: r}))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	pages := func() (n int64) {
		if err := s.file.view(func(btx *bbolt.Tx) error { n = btx.Size() / pageSize; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for n < 40*names/each {
		update()
	}
	before := pages()
	rows := 0
	for _, err := range storage.All(s, 100) { // a slow dump
		if err != nil {
			t.Fatal(err)
		}
		if rows++; rows%25 == 0 {
			update()
		}
	}
	if after := pages(); after > before+before/5 {
		t.Errorf("during a dump the file went from %d to %d pages", before, after)
	}
	for range 5 {
		before := pages()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if err := s.Copy(t.Context(), filepath.Join(t.TempDir(), "copy.db"), nil); err != nil {
				t.Error(err)
			}
		}()
		for done := false; !done; {
			select {
			case <-gone:
				done = true
			default:
				update()
			}
		}
		if after := pages(); after > before+before/5 {
			t.Errorf("during a copy the file went from %d to %d pages", before, after)
		}
	}
}

// A copy that could not be completed is not put in the place of the file.
func TestUnsealedCopyIsNotUsed(t *testing.T) {
	s := newNumbered(t, 300)
	path := s.file.path + ".copy"
	try := func(progress func(done, of int64)) (finished bool, err error) {
		defer os.Remove(path)
		err = s.copy(t.Context(), path, progress, func(*copier) error {
			finished = true
			return nil
		})
		return finished, err
	}
	steps := 0
	if finished, err := try(func(_, _ int64) { steps++ }); !finished || err != nil {
		t.Fatal(finished, err)
	}
	finished, err := try(func(_, _ int64) {
		if steps--; steps == 0 { // the copy cannot be written any more
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			root, _, _, err := (&outline{file: f}).metas()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, pageSize), int64(root)*pageSize); err != nil {
				t.Fatal(err)
			}
		}
	})
	if finished || !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("finished: %v, %v", finished, err)
	}
}
