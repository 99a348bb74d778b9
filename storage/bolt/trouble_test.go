package bolt

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// The ways in which a commit fails.

// fullDisk is a commit that fails before anything of it is on the disk.
func fullDisk(btx *bbolt.Tx) error {
	btx.Rollback()
	return syscall.ENOSPC
}

// lostFile is a commit that fails before anything of it is on the disk, and then
// the file cannot be read either.
func lostFile(btx *bbolt.Tx) error {
	db := btx.DB()
	btx.Rollback()
	db.Close()
	return syscall.EIO
}

// lostSync is a commit of which all was written but the last flush failed.
func lostSync(btx *bbolt.Tx) error {
	if err := btx.Commit(); err != nil {
		return err
	}
	return syscall.EIO
}

// crashedBolt is a commit in which bbolt finds its file damaged.
func crashedBolt(*bbolt.Tx) error { panic("page 7: not a leaf") }

// troubled is a store whose next commit fails.
type troubled struct {
	*Store
	t    *testing.T
	path string
	now  storage.Instant
}

func newTroubled(t *testing.T) *troubled {
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := &troubled{Store: openQuick(t, path), t: t, path: path, now: storage.Instant{Wall: time.UnixMilli(1e12).UTC()}}
	t.Cleanup(func() { s.Close() })
	return s
}

// register registers a name some time after the last Update, with an outcome.
func (s *troubled) register(name foyer.Name, later time.Duration) error {
	s.now.Wall = s.now.Wall.Add(later)
	s.now.Lease += later
	return s.Update(s.now, func(tx storage.Tx) error {
		if err := tx.Record(storage.Outcome{ID: idOf(name), Reply: []byte("OK")}); err != nil {
			return err
		}
		r := foyer.Registration{Name: name, Address: foyer.Address("room://" + name + ":1"), RegisteredAt: s.now.Wall}
		return tx.Apply(storage.Event{Kind: storage.Registered, Time: s.now.Wall, Registration: r})
	})
}

func idOf(name foyer.Name) (id foyer.ID) {
	copy(id[:], name)
	return id
}

func (s *troubled) failing(commit func(*bbolt.Tx) error) {
	s.commitBolt = func(btx *bbolt.Tx) error {
		s.commitBolt = (*bbolt.Tx).Commit
		return commit(btx)
	}
}

func (s *troubled) want(name foyer.Name, there bool) {
	s.t.Helper()
	if _, err := s.Find([]byte(name)); (err == nil) != there {
		s.t.Errorf("Find(%q): %v", name, err)
	}
}

func (s *troubled) wantRecorded(name foyer.Name, there bool) {
	s.t.Helper()
	s.now.Wall = s.now.Wall.Add(time.Second)
	err := s.Update(s.now, func(tx storage.Tx) error {
		if _, ok, err := tx.Outcome(idOf(name)); ok != there || err != nil {
			s.t.Errorf("the outcome of %q: %v, %v", name, ok, err)
		}
		return nil
	})
	if err != nil {
		s.t.Errorf("Update: %v", err)
	}
}

func (s *troubled) wantUnavailable(err error) {
	s.t.Helper()
	if !errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain) {
		s.t.Errorf("%v, want foyer.ErrUnavailable", err)
	}
}

func TestACommitThatFailsHasNotHappened(t *testing.T) {
	for name, commit := range map[string]func(*bbolt.Tx) error{"a full disk": fullDisk, "a panic of bbolt": crashedBolt} {
		t.Run(name, func(t *testing.T) {
			s := newTroubled(t)
			if err := s.register("before", time.Second); err != nil {
				t.Fatal(err)
			}
			last := s.Last()
			s.failing(commit)
			s.wantUnavailable(s.register("during", time.Second))
			s.want("before", true)
			s.want("during", false)
			if s.Len() != 1 || s.Last() != last {
				t.Errorf("Len() = %d, Last() = %v", s.Len(), s.Last())
			}
			if list, err := s.List("", 10); len(list) != 1 || err != nil {
				t.Errorf("List = %v, %v", list, err)
			}
			s.wantRecorded("during", false)
			if err := s.register("during", 0); err != nil { // at once, as soon as the disk does
				t.Errorf("afterwards: %v", err)
			}
			s.Close()
			verify(t, s.path)
		})
	}
}

func TestACommitThatHasHappenedIsMadeDurable(t *testing.T) {
	s := newTroubled(t)
	s.failing(lostSync)
	if err := s.register("during", time.Second); err != nil {
		t.Errorf("Update: %v", err)
	}
	s.want("during", true)
	s.wantRecorded("during", true)
	s.Close()
	verify(t, s.path)
}

// TestUncertainty takes the file away while it is to be asked what became of a
// transaction.
func TestUncertainty(t *testing.T) {
	for name, c := range map[string]struct {
		commit  func(*bbolt.Tx) error
		happens bool
	}{"it had not happened": {lostFile, false}, "it had happened": {lostSync, true}} {
		t.Run(name, func(t *testing.T) {
			s := newTroubled(t)
			if err := s.register("before", time.Second); err != nil {
				t.Fatal(err)
			}
			s.failing(func(btx *bbolt.Tx) error {
				defer os.Rename(s.path, s.path+".away")
				return c.commit(btx)
			})
			if err := s.register("during", time.Second); !errors.Is(err, storage.ErrUncertain) {
				t.Errorf("%v, want storage.ErrUncertain", err)
			}
			s.want("before", true)
			s.want("during", false)
			s.wantUnavailable(s.register("after", time.Second))
			if !s.Recorded(idOf("before")) || !s.Recorded(idOf("during")) || s.Recorded(idOf("after")) {
				t.Errorf("recorded are %v, %v and %v", s.Recorded(idOf("before")), s.Recorded(idOf("during")), s.Recorded(idOf("after")))
			}
			if _, err := s.List("", 10); !errors.Is(err, foyer.ErrUnavailable) {
				t.Errorf("List: %v", err)
			}

			// The file comes back, but it is not looked for all the time.
			if err := os.Rename(s.path+".away", s.path); err != nil {
				t.Fatal(err)
			}
			s.wantUnavailable(s.register("after", retryInterval-1))
			if err := s.register("after", 1); err != nil {
				t.Errorf("after %v: %v", retryInterval, err)
			}
			s.want("during", c.happens)
			s.want("after", true)
			s.wantRecorded("during", c.happens)
			s.Close()
			verify(t, s.path)
			again := openQuick(t, s.path)
			defer again.Close()
			if _, err := again.Find([]byte("during")); (err == nil) != c.happens {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

func TestAnotherFileInItsPlace(t *testing.T) {
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	other := s.path + ".other"
	openQuick(t, other).Close()
	s.failing(func(btx *bbolt.Tx) error {
		os.Rename(other, s.path)
		return fullDisk(btx)
	})
	s.wantUnavailable(s.register("during", time.Second))
	for range 3 {
		s.wantUnavailable(s.register("after", time.Hour))
	}
	s.want("before", true)
	again := openQuick(t, s.path+"") // the other one has not been touched
	defer again.Close()
	if again.Len() != 0 {
		t.Errorf("the other file has %d names", again.Len())
	}
}

// TestReadOnlyFileSystem is what happens when the kernel stops writing to a disk:
// the file can be read, but not be opened for writing.
func TestReadOnlyFileSystem(t *testing.T) {
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	s.openBolt = func(path string, readOnly bool, look func(*os.File, os.FileInfo) error) (*bbolt.DB, error) {
		if !readOnly {
			return nil, syscall.EROFS
		}
		return openBolt(path, readOnly, look)
	}
	s.failing(fullDisk)
	s.wantUnavailable(s.register("during", time.Second)) // it is not in the file
	for range 3 {
		s.wantUnavailable(s.register("during", time.Second))
		s.want("before", true)
		if list, err := s.List("", 10); len(list) != 1 || err != nil {
			t.Errorf("List = %v, %v", list, err)
		}
		if h, err := s.History("before"); len(h) != 1 || err != nil {
			t.Errorf("History = %v, %v", h, err)
		}
	}
	s.openBolt = openBolt
	if err := s.register("after", time.Second); err != nil {
		t.Error(err)
	}
	s.want("during", false)
}

// TestRandomTrouble lets commits fail at random, in every way, and sees to it
// that each Update has done what its error says.
func TestRandomTrouble(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	walk, model := storetest.NewWalk(seed, 40), storetest.NewModel(storetest.Sabotage{})
	uncertain := 0
	away := false
	s.commitBolt = func(btx *bbolt.Tx) error {
		commit := []func(*bbolt.Tx) error{fullDisk, lostSync, lostFile, crashedBolt}
		if n := r.IntN(12); n < len(commit) {
			err := guard(func() error { return commit[n](btx) })
			if away = r.IntN(3) == 0; away {
				os.Rename(path, path+".away")
			}
			return err
		}
		return btx.Commit()
	}
	var doubts []storetest.Step
	for i := range 800 {
		if away && r.IntN(2) == 0 {
			os.Rename(path+".away", path)
			away = false
		}
		step := walk.Next()
		got, gerr := step.Carry(s)
		if s.trouble == nil {
			// What was in doubt has been settled before this step was looked at.
			for _, d := range doubts {
				if s.wasThere(d.Now) {
					d.Carry(model)
				}
			}
			doubts = nil
		}
		switch {
		case errors.Is(gerr, storage.ErrUncertain):
			uncertain++
			doubts = append(doubts, step)
			continue
		case errors.Is(gerr, foyer.ErrUnavailable):
			continue
		}
		want, werr := step.Carry(model)
		if !slices.Equal(got, want) || !errors.Is(gerr, werr) {
			t.Fatalf("step %d:\n got %q, %v\nwant %q, %v", i, got, gerr, want, werr)
		}
		if !away {
			if err := walk.Compare(s, model); err != nil {
				t.Fatalf("after step %d: %v", i, err)
			}
		}
	}
	t.Logf("%d were uncertain", uncertain)
}

// wasThere reports whether the group of an Update is in the log.
func (s *Store) wasThere(now storage.Instant) (found bool) {
	s.db.View(func(btx *bbolt.Tx) error {
		return eachGroup(btx, s.state.live(), s.state.tail, func(at uint64, g []byte) error {
			clocks, err := decodeGroup(at, g, visitor{})
			found = found || clocks == now
			return err
		})
	})
	return found
}
