package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"foyer/storage"
	"foyer/storage/storetest"
)

// quick is a pace at which a small test meets everything that a large database
// does: sweeps that begin and end, logs that are trimmed.
var quick = pace{share: 2, minSweep: 40, maxSweep: 80, minSweepBlocks: 30, foldStep: 8, enoughFreePages: 8, trimBlocks: 8}

func openQuick(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, &Options{pace: quick})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readOnlyStore makes a Reader comparable with a Store.
type readOnlyStore struct{ *Reader }

func (readOnlyStore) Update(storage.Instant, func(storage.Tx) error) error { return nil }

var _ storage.Store = readOnlyStore{}

func verify(t *testing.T, path string) {
	t.Helper()
	if err := Verify(path, func(problem string) { t.Errorf("Verify: %s", problem) }); err != nil {
		t.Fatalf("Verify: %v", err)
	}
}

// TestKilledAnywhere looks at the file as a process leaves it that is killed
// between two Updates: opened again, or only read, it holds what the model does.
func TestKilledAnywhere(t *testing.T) {
	seed := storetest.Seed(t)
	for _, names := range []int{3, 60, 500} {
		folder := t.TempDir()
		path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "copied.db")
		walk, model := storetest.NewWalk(seed, names), storetest.NewModel(storetest.Sabotage{})
		s := openQuick(t, path)
		for i := range 250 {
			step := walk.Next()
			got, gerr := step.Carry(s)
			want, werr := step.Carry(model)
			if !slices.Equal(got, want) || !errors.Is(gerr, werr) {
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
			r, err := OpenReadOnly(copied)
			if err != nil {
				t.Fatal(err)
			}
			if err := walk.Compare(readOnlyStore{r}, model); err != nil {
				t.Fatalf("%d names, read after step %d: %v", names, i, err)
			}
			r.Close()
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
		t.Logf("%d names: %+v, %d pending", names, s.state, s.pending.len())
		if s.state.head == 1 {
			t.Error("the log was never trimmed")
		}
		if s.state.folded == 1 {
			t.Error("no sweep was ever over")
		}
		s.Close()
		verify(t, path)
	}
}
