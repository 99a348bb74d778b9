package bolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/storage"
)

func format(t *testing.T, path string) (version byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_ = db.View(func(btx *bbolt.Tx) error {
		version = btx.Bucket(bucketMeta).Get(keyFormat)[3]
		return nil
	})
	return version
}

// TestFormatOfHolds: a program that does not know of holds must not open a file
// that has some, and may open any other.
func TestFormatOfHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := newTroubledAt(t, path)
	if err := s.register("room", time.Second); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if v := format(t, path); v != formatFirst {
		t.Errorf("without holds the format is %d", v)
	}
	s = newTroubledAt(t, path)
	if err := s.hold("room", time.Hour); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if v := format(t, path); v != formatHolds {
		t.Errorf("with a hold the format is %d", v)
	}
}

func newTroubledAt(t *testing.T, path string) *troubled {
	s := &troubled{Store: openQuick(t, path), t: t, path: path, now: storage.Instant{Wall: time.UnixMilli(1e12).UTC()}}
	t.Cleanup(func() { s.Close() })
	return s
}

// hold holds a name, some time after the last Update.
func (s *troubled) hold(name foyer.Name, later time.Duration) error {
	s.now.Wall = s.now.Wall.Add(later)
	return s.Update(s.now, func(tx storage.Tx) error {
		return tx.Hold(storage.Hold{Name: name, Since: s.now.Wall, Until: s.now.Wall.Add(time.Hour)})
	})
}

func (s *troubled) wantHolds(n int) {
	s.t.Helper()
	if list, err := s.Holds(); len(list) != n || err != nil {
		s.t.Errorf("%d holds, %v; want %d", len(list), err, n)
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

// A hold that is damaged, lost or as it was before is noticed.
func TestDamagedHolds(t *testing.T) {
	for name, damage := range map[string]func(btx *bbolt.Tx) error{
		"changed": func(btx *bbolt.Tx) error {
			b := btx.Bucket(bucketHolds)
			value := bytes.Clone(b.Get([]byte("room")))
			value[len(value)-1] ^= 1
			return b.Put([]byte("room"), value)
		},
		"lost": func(btx *bbolt.Tx) error { return btx.Bucket(bucketHolds).Delete([]byte("room")) },
		"old": func(btx *bbolt.Tx) error {
			at := time.UnixMilli(1e12).UTC()
			return btx.Bucket(bucketHolds).Put([]byte("room"), appendHold(nil, storage.Hold{Name: "room", Since: at, Until: at}))
		},
		"all lost":    func(btx *bbolt.Tx) error { return btx.DeleteBucket(bucketHolds) },
		"not counted": func(btx *bbolt.Tx) error { return btx.Bucket(bucketMeta).Delete(keyHolds) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rooms.db")
			s := newTroubledAt(t, path)
			if err := s.hold("room", time.Second); err != nil {
				t.Fatal(err)
			}
			s.Close()
			verify(t, path)
			db, err := bbolt.Open(path, 0o600, boltOptions(false))
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(damage); err != nil {
				t.Fatal(err)
			}
			db.Close()
			if err := refusal(t, path); !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("%v, want storage.ErrDamaged", err)
			}
			if err := Verify(path, func(string) {}); !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("Verify: %v, want storage.ErrDamaged", err)
			}
		})
	}
}
