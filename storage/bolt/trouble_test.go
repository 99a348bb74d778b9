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
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/engine"
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
	return newTroubledAt(t, filepath.Join(t.TempDir(), "rooms.db"))
}

func newTroubledAt(t *testing.T, path string) *troubled {
	s := &troubled{Store: openQuick(t, path), t: t, path: path, now: storage.Instant{Wall: time.UnixMilli(1e12).UTC()}}
	s.file.now = func() time.Time { return s.now.Wall }
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

// hold holds a name, some time after the last Update.
func (s *troubled) hold(name foyer.Name, later time.Duration) error {
	s.now.Wall = s.now.Wall.Add(later)
	return s.Update(s.now, func(tx storage.Tx) error {
		return tx.Hold(storage.Hold{Name: name, Since: s.now.Wall, Until: s.now.Wall.Add(time.Hour)})
	})
}

func idOf(name foyer.Name) (id foyer.ID) {
	copy(id[:], name)
	return id
}

func (s *troubled) failing(commit func(*bbolt.Tx) error) {
	s.file.commitBolt = func(btx *bbolt.Tx) error {
		s.file.commitBolt = (*bbolt.Tx).Commit
		return commit(btx)
	}
}

func (s *troubled) want(name foyer.Name, there bool) {
	s.t.Helper()
	if _, err := s.Find([]byte(name)); (err == nil) != there {
		s.t.Errorf("Find(%q): %v", name, err)
	}
}

func (s *troubled) wantHolds(n int) {
	s.t.Helper()
	if list, err := s.Holds(); len(list) != n || err != nil {
		s.t.Errorf("%d holds, %v; want %d", len(list), err, n)
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

// Seen in the file is not yet on the disk: another commit, with its flushes, is
// made for each meta page before the Update is said to have happened.
func TestACommitThatHasHappenedIsMadeDurable(t *testing.T) {
	s := newTroubled(t)
	var txid uint64
	s.failing(func(btx *bbolt.Tx) error {
		txid = uint64(btx.ID())
		return lostSync(btx)
	})
	if err := s.register("during", time.Second); err != nil {
		t.Errorf("Update: %v", err)
	}
	if found, err := s.file.stored(); err != nil || found.Txid != txid+2 || s.file.extent.Txid != txid+2 {
		t.Errorf("the transaction was %d, and the last in the file is %d, %v", txid, found.Txid, err)
	}
	s.want("during", true)
	s.wantRecorded("during", true)
	s.Close()
	verify(t, s.path)
}

// When the flush of a meta page has failed the kernel's cache still shows it, but
// counts it as written: it reaches the disk only if it is written again. So before the
// Update has happened both meta pages are, and the file is sound without what was
// lost.
func TestAMetaPageThatIsLost(t *testing.T) {
	s := newTroubled(t)
	for _, name := range []foyer.Name{"one", "two", "three"} {
		if err := s.register(name, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	var before, after []byte
	s.failing(func(btx *bbolt.Tx) error {
		before, _ = os.ReadFile(s.path)
		err := lostSync(btx)
		after, _ = os.ReadFile(s.path)
		return err
	})
	if err := s.register("during", time.Second); err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(s.path) // when the power fails
	if err != nil {
		t.Fatal(err)
	}
	for id := range 2 {
		at := id * pageSize
		if page := disk[at : at+pageSize]; string(page) == string(after[at:at+pageSize]) {
			copy(page, before[at:])
		}
	}
	path := filepath.Join(t.TempDir(), "rooms.db")
	if err := os.WriteFile(path, disk, fileMode); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Find([]byte("during")); err != nil {
		t.Error(err)
	}
}

// A batch without a group moves no end, and is told apart all the same.
func TestABatchWithoutAGroupThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		commit  func(*bbolt.Tx) error
		happens bool
	}{"a full disk": {fullDisk, false}, "a lost flush": {lostSync, true}} {
		t.Run(name, func(t *testing.T) {
			s := newTroubled(t)
			if err := s.register("before", time.Second); err != nil {
				t.Fatal(err)
			}
			state, end, err := s.file.Load(func() func(string, []byte) error { return func(string, []byte) error { return nil } })
			if err != nil {
				t.Fatal(err)
			}
			s.failing(c.commit)
			err = s.file.Append(&engine.Batch{Position: end, State: state, Pieces: map[string][]byte{"piece": []byte("new")}})
			there := false
			_, _, loadErr := s.file.Load(func() func(string, []byte) error {
				return func(key string, _ []byte) error { there = true; return nil }
			})
			if (err == nil) != c.happens || there != c.happens || loadErr != nil {
				t.Errorf("Append: %v, and the piece is there: %v, %v", err, there, loadErr)
			}
		})
	}
}

// TestUncertainty takes the file away while it is to be asked what became of a
// transaction. What is in memory can be read all the time.
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
			if list, err := s.List("", 10); len(list) != 1 || err != nil {
				t.Errorf("List: %v, %v", list, err)
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

// What becomes of a hold whose commit fails, or is in doubt.
func TestHoldsInTrouble(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := newTroubled(t)
		s.failing(fullDisk)
		s.wantUnavailable(s.hold("room", time.Second))
		s.wantHolds(0)
		if err := s.hold("room", time.Second); err != nil {
			t.Fatal(err)
		}
		s.wantHolds(1)
	})
	for name, kept := range map[string]bool{"lost": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			s := newTroubled(t)
			s.failing(func(btx *bbolt.Tx) error {
				defer os.Rename(s.path, s.path+".away")
				if !kept {
					return lostFile(btx)
				}
				return lostSync(btx)
			})
			if err := s.hold("room", time.Second); !errors.Is(err, storage.ErrUncertain) {
				t.Fatalf("%v, want storage.ErrUncertain", err)
			}
			s.wantHolds(0)
			os.Rename(s.path+".away", s.path)
			if err := s.register("other", time.Second); err != nil {
				t.Fatal(err)
			}
			want := 0
			if kept {
				want = 1
			}
			s.wantHolds(want)
			s.Close()
			s = newTroubledAt(t, s.path)
			s.wantHolds(want)
		})
	}
}

func TestAnotherFileInItsPlace(t *testing.T) {
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	other := s.path + ".other"
	copyFile(t, s.path, other) // which is as good, but another
	s.failing(func(btx *bbolt.Tx) error {
		os.Rename(other, s.path)
		return fullDisk(btx)
	})
	s.wantUnavailable(s.register("during", time.Second))
	for range 3 {
		s.wantUnavailable(s.register("after", time.Hour))
	}
	s.want("before", true)
	again := openQuick(t, s.path) // the other one has not been touched
	defer again.Close()
	if again.Len() != 1 {
		t.Errorf("the other file has %d names", again.Len())
	}
}

// TestAnotherProcess changes the file while it is not held, between a failure and
// opening it again.
func TestAnotherProcess(t *testing.T) {
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	s.file.openBolt = func(path string, readOnly bool) (*bbolt.DB, os.FileInfo, error) {
		s.file.openBolt = openBolt
		other := newTroubledAt(t, path)
		if err := errors.Join(other.register("theirs", time.Second), other.Close()); err != nil {
			t.Error(err)
		}
		return openBolt(path, readOnly)
	}
	s.failing(fullDisk)
	s.wantUnavailable(s.register("during", time.Second))
	for range 3 {
		s.wantUnavailable(s.register("after", time.Hour))
	}
	if !s.file.trouble.final || s.file.db != nil {
		t.Error("the file is held that another process has changed")
	}
	s.Close()
	s = newTroubledAt(t, s.path)
	s.want("theirs", true)
	s.want("during", false)
}

// TestReadOnlyFileSystem is what happens when the kernel stops writing to a disk:
// the file can be read, but not be opened for writing.
func TestReadOnlyFileSystem(t *testing.T) {
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	s.file.openBolt = func(path string, readOnly bool) (*bbolt.DB, os.FileInfo, error) {
		if !readOnly {
			return nil, nil, syscall.EROFS
		}
		return openBolt(path, readOnly)
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
	s.file.openBolt = openBolt
	if err := s.register("after", time.Second); err != nil {
		t.Error(err)
	}
	s.want("during", false)
}

// TestRandomTrouble lets commits fail at random, in every way, and sees to it
// that each Update has done what its error says.
func TestRandomTrouble(t *testing.T) {
	seed := testenv.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	walk, model := storetest.NewWalk(seed, 40), storetest.NewModel(storetest.Sabotage{})
	uncertain, settled, happened, failed := 0, 0, 0, 0
	away := false
	s.file.commitBolt = func(btx *bbolt.Tx) error {
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
	now := time.UnixMilli(0)
	s.file.now = func() time.Time { return now }
	var doubt *storetest.Step
	var would *extent // where it would have left the log
	for i := range 800 {
		if away && r.IntN(2) == 0 {
			os.Rename(path+".away", path)
			away = false
		}
		now = now.Add(retryInterval / 2)
		if doubt != nil {
			s.file.End() // which settles it if that can be
			if trouble := s.file.trouble; trouble == nil || trouble.doubt != would {
				settled++
				if s.file.extent.End == would.End {
					happened++
					doubt.Carry(model)
				}
				doubt = nil
			}
		}
		step := walk.Next()
		got, gerr := step.Carry(s)
		switch {
		case errors.Is(gerr, storage.ErrUncertain):
			if doubt != nil {
				t.Fatalf("step %d is uncertain, and the one before still is", i)
			}
			uncertain++
			doubt, would = &step, s.file.trouble.doubt
			continue
		case errors.Is(gerr, foyer.ErrUnavailable):
			failed++
			continue
		}
		want, werr := step.Carry(model)
		if !slices.Equal(got, want) || !errors.Is(gerr, werr) {
			t.Fatalf("step %d:\n got %q, %v\nwant %q, %v", i, got, gerr, want, werr)
		}
		if err := walk.Compare(s, model); err != nil {
			t.Fatalf("after step %d: %v", i, err)
		}
	}
	t.Logf("%d failed, %d were uncertain, of which %d were settled and %d had happened", failed, uncertain, settled, happened)
	if failed < 20 || settled < 10 || happened < 3 || happened == settled {
		t.Error("that is too little")
	}
	if away {
		os.Rename(path+".away", path)
	}
	s.file.commitBolt = (*bbolt.Tx).Commit // closing commits, too
	s.Close()
	verify(t, path)
}

// A commit that fails behind Compact is as any other: the file is the compact one.
func TestTroubleAfterCompact(t *testing.T) {
	for name, c := range map[string]struct {
		commit  func(*bbolt.Tx) error
		happens bool
	}{"a full disk": {fullDisk, false}, "a lost flush": {lostSync, true}} {
		t.Run(name, func(t *testing.T) {
			s := newTroubled(t)
			for _, name := range []foyer.Name{"one", "two", "three"} {
				if err := s.register(name, time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := s.Compact(t.Context(), s.path+".compact", nil); err != nil {
				t.Fatal(err)
			}
			s.failing(c.commit)
			if err := s.register("during", time.Second); (err == nil) != c.happens || errors.Is(err, storage.ErrUncertain) {
				t.Errorf("Update: %v", err)
			}
			s.want("during", c.happens)
			if err := s.register("after", time.Second); err != nil {
				t.Error(err)
			}
			s.Close()
			verify(t, s.path)
		})
	}
}
