package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/storetest"
)

func openQuick(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, quick)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, path string) {
	t.Helper()
	if err := Verify(path, func(problem string) { t.Errorf("Verify: %s", problem) }); err != nil {
		t.Fatalf("Verify: %v", err)
	}
}

// wantLike opens a file for reading and compares what it holds.
func wantLike(t *testing.T, path string, walk *storetest.Walk, model storage.Store) {
	t.Helper()
	r, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := walk.Compare(r, model); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(r.Last(), func(storage.Tx) error { return nil }); err == nil {
		t.Error("an Update of a file that is only read succeeds")
	}
}

// TestKilledAnywhere looks at the file as a process leaves it that is killed
// between two Updates: opened again, or only read, it holds what the model does.
func TestKilledAnywhere(t *testing.T) {
	seed := testenv.Seed(t)
	for _, names := range []int{3, 60, 500} {
		folder := t.TempDir()
		path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "copied.db")
		walk, model := storetest.NewWalk(seed, names), storetest.NewModel(storetest.Sabotage{})
		s := openQuick(t, path)
		for i := range 250 {
			step := walk.Next()
			got, gerr := step.Carry(s)
			want, werr := step.Carry(model)
			if !slices.Equal(got, want) || (gerr == nil) != (werr == nil) {
				t.Fatalf("%d names, step %d:\n got %q, %v\nwant %q, %v", names, i, got, gerr, want, werr)
			}
			if i%7 != 0 {
				continue
			}
			if err := walk.Compare(s, model); err != nil {
				t.Fatalf("%d names, after step %d: %v", names, i, err)
			}
			copyFile(t, path, copied)
			verify(t, copied)
			wantLike(t, copied, walk, model)
			if i%14 != 0 {
				continue
			}
			// It goes on with the copy.
			s.Close()
			if err := os.Rename(copied, path); err != nil {
				t.Fatal(err)
			}
			s = openQuick(t, path)
			if err := walk.Compare(s, model); err != nil {
				t.Fatalf("%d names, reopened after step %d: %v", names, i, err)
			}
		}
		pieces := piecesOf(t, s.file)
		t.Logf("%d names: the log goes from block %d to %d, %d pieces", names, s.file.extent.Head, s.file.extent.blocks(), len(pieces))
		if s.file.extent.Head == 0 {
			t.Error("the log was never trimmed")
		}
		if least := names / 20; len(pieces) <= least {
			t.Errorf("there are %d pieces of a snapshot, want more than %d", len(pieces), least)
		}
		s.Close()
		verify(t, path)
	}
}

// TestARemainderOfALog: only what fills a block is a block, the rest is in meta.
func TestARemainderOfALog(t *testing.T) {
	s := newTroubled(t)
	for i := range 40 {
		if err := s.register(foyer.Name(fmt.Sprint("room ", i)), 1); err != nil {
			t.Fatal(err)
		}
		x := &s.file.extent
		if uint64(len(x.last)) != x.End%blockSize {
			t.Fatalf("%d bytes are left of %d", len(x.last), x.End)
		}
		if i%10 == 9 {
			s.Close()
			s = newTroubledAt(t, s.path)
		}
	}
	if s.file.extent.blocks() < 4 {
		t.Errorf("there are %d blocks", s.file.extent.blocks())
	}
}

// TestTrimming: blocks are left while there are free pages enough, and never more
// are taken away at a time than was said, beside twice what an Update of the walk
// writes, which is some 8 KB.
func TestTrimming(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	for _, enough := range []int{-1 << 30, 1 << 30} {
		s, err := Open(path, &Options{pace: quick.pace, enoughPages: enough, trimBlocks: 3, noSync: true})
		if err != nil {
			t.Fatal(err)
		}
		walk := storetest.NewWalk(1, 30)
		before, most := s.file.extent.Head, uint64(0)
		first := before
		for range 200 {
			walk.Next().Carry(s)
			most = max(most, s.file.extent.Head-before)
			before = s.file.extent.Head
		}
		if enough < 0 && before != first || enough > 0 && (before == first || most < 3 || most > 40) {
			t.Errorf("with %d pages that are enough the log begins at block %d, and did at %d; %d went at a time", enough, before, first, most)
		}
		s.Close()
		verify(t, path)
	}
}

// piecesOf returns what is kept of the snapshot, by keys.
func piecesOf(t *testing.T, f *file) map[string]string {
	t.Helper()
	pieces := map[string]string{}
	var mu sync.Mutex
	_, _, err := f.Load(func() func(string, []byte) error {
		return func(key string, value []byte) error {
			mu.Lock()
			defer mu.Unlock()
			pieces[key] = string(value)
			return nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return pieces
}

func metasOf(path string) (root, free, pages uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer f.Close()
	return (&outline{file: f}).metas()
}
