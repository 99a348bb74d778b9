package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// quick is a pace at which a small test meets everything that a large database
// does: sweeps that begin and end, logs that are trimmed.
var quick = pace{share: 2, minSweep: 40, maxSweep: 80, minSweepBlocks: 30, foldStep: 8, enoughFreePages: 8, trimBlocks: 8}

func openQuick(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, &Options{pace: quick, noSync: true})
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
func (readOnlyStore) Recorded(foyer.ID) bool                               { return true }
func (readOnlyStore) Check() error                                         { return nil }

func (s readOnlyStore) FindAll(queries []storage.Query) {
	for i := range queries {
		q := &queries[i]
		q.Registration, q.Err = s.Find(q.Name)
	}
}

var _ storage.Store = readOnlyStore{}

func verify(t *testing.T, path string) {
	t.Helper()
	if err := Verify(path, func(problem string) { t.Errorf("Verify: %s", problem) }); err != nil {
		t.Fatalf("Verify: %v", err)
	}
}

// compareCold looks names up as is done while there is no index.
func compareCold(t *testing.T, path string, names int, model storage.Store) {
	t.Helper()
	var cold *coldRooms
	db, err := openBolt(path, true, func(f *os.File, info os.FileInfo) error {
		found, err := examine(f, info.Size(), 0, nil)
		cold = newColdRooms(found)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(cold.replay); err != nil {
		t.Fatal(err)
	}
	for i := range names + 3 {
		name := fmt.Sprintf("room %x", i)
		got, err := cold.find(name)
		want, wantErr := model.Find([]byte(name))
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("find(%q) is %+v, %v; want %+v, %v", name, got, err, want, wantErr)
		}
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
			compareCold(t, copied, names, model)
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

// TestFormat1 opens a file that the first version of the format left, with a log
// that is partly folded. FOYER_GOLDEN=1 writes it anew.
func TestFormat1(t *testing.T) {
	const fixture = "testdata/format1.db"
	fill := func(s storage.Store) *storetest.Walk {
		walk := storetest.NewWalk(1, 30).WithoutHolds()
		for range 24 {
			walk.Next().Carry(s)
		}
		return walk
	}
	path := filepath.Join(t.TempDir(), "rooms.db")
	if os.Getenv("FOYER_GOLDEN") != "" {
		s := openQuick(t, path)
		fill(s)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages, err := openPages(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fixture, b[:pages.pages*pageSize], 0o644); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	copyFile(t, fixture, path)
	model := storetest.NewModel(storetest.Sabotage{})
	walk := fill(model)
	for range 2 {
		s := openQuick(t, path)
		if err := walk.Compare(s, model); err != nil {
			t.Error(err)
		}
		s.Close()
		verify(t, path)
	}
}

// TestHistoryNamesAfterAKill lets more names end than are remembered, some of
// them in the part of the log that is replayed.
func TestHistoryNamesAfterAKill(t *testing.T) {
	folder := t.TempDir()
	path, copied := filepath.Join(folder, "rooms.db"), filepath.Join(folder, "copied.db")
	s := openQuick(t, path)
	defer s.Close()
	model := storetest.NewModel(storetest.Sabotage{})
	names := storage.HistoryNames + 5000
	nameOf := func(i int) foyer.Name { return foyer.Name(fmt.Sprintf("room %d", i)) }
	now := storage.Instant{}
	step := func(i int) func(storage.Tx) error {
		return func(tx storage.Tx) error {
			for j := i; j < min(i+997, names); j++ {
				r := foyer.Registration{Name: nameOf(j * 7919 % names), Address: "room://h:1"}
				for _, k := range []storage.Kind{storage.Registered, storage.Expired} {
					if err := tx.Apply(storage.Event{Kind: k, Registration: r}); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	for i := 0; i < names; i += 997 {
		now.Lease += time.Second
		for _, s := range []storage.Store{s, model} {
			if err := s.Update(now, step(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyFile(t, path, copied)
	verify(t, copied)
	again := openQuick(t, copied)
	defer again.Close()
	if err := again.awaitIndexes(); err != nil {
		t.Fatal(err)
	}
	if again.pending.len() == 0 {
		t.Error("nothing is left to be replayed")
	}
	forgotten := 0
	for i := 0; i < names; i += 13 { // which meets every part of the order
		want, _ := model.History(nameOf(i))
		if got, err := again.History(nameOf(i)); err != nil || len(got) != len(want) {
			t.Fatalf("%q has %d events, %v; want %d", nameOf(i), len(got), err, len(want))
		}
		if len(want) == 0 {
			forgotten++
		}
	}
	if want := 5000 / 13; forgotten < want/2 || forgotten > want*2 {
		t.Errorf("%d of the names looked at are forgotten, want about %d", forgotten, want)
	}
	// The order in which the rest will be forgotten is the same, too.
	if !slices.Equal(slices.Collect(again.ended.all), slices.Collect(s.ended.all)) {
		t.Error("the order of the ended names has changed")
	}
}
