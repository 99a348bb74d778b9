package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"foyer/storage"
	"foyer/storage/storetest"
)

// TestFormat opens files that the format's versions left, with logs that are partly
// in the snapshot. FOYER_GOLDEN=1 go test -run TestFormat ./storage/bolt writes that of
// the current one anew.
func TestFormat(t *testing.T) {
	for version := oldestFormat; version <= formatVersion; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) { testFormat(t, version) })
	}
}

func testFormat(t *testing.T, version int) {
	fixture := fmt.Sprintf("testdata/format%d.db", version)
	fill := func(s storage.Store) *storetest.Walk {
		walk := storetest.NewWalk(1, 30)
		if version == 3 {
			walk = walk.WithoutExits()
		}
		for range 60 {
			walk.Next().Carry(s)
		}
		return walk
	}
	path := filepath.Join(t.TempDir(), "rooms.db")
	if os.Getenv("FOYER_GOLDEN") != "" && version == formatVersion {
		s, err := Open(path, quick)
		if err != nil {
			t.Fatal(err)
		}
		fill(s)
		var used int64
		if err := s.file.view(func(btx *bbolt.Tx) error { used = btx.Size(); return nil }); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fixture, b[:used], 0o644); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	model := storetest.NewModel(storetest.Sabotage{})
	walk := fill(model)
	if holds, err := model.Holds(); len(holds) == 0 || err != nil {
		t.Errorf("it holds no name back, %v", err)
	}
	copyFixture(t, fixture, path)
	s, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := walk.Compare(s, model); err != nil {
		t.Error(err)
	}
	s.Close()
	for range 2 {
		s, err := Open(path, quick)
		if err != nil {
			t.Fatal(err)
		}
		if err := walk.Compare(s, model); err != nil {
			t.Error(err)
		}
		s.Close()
		if err := Verify(path, func(problem string) { t.Error(problem) }); err != nil {
			t.Error(err)
		}
	}
	// What is written now makes it a file of the current version.
	s, err = Open(path, quick)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		step := walk.Next()
		step.Carry(s)
		step.Carry(model)
	}
	s.Close()
	if s, err = Open(path, quick); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := walk.Compare(s, model); err != nil || s.file.format != formatVersion {
		t.Errorf("of format %d, %v", s.file.format, err)
	}
}

// Files of versions that are not known any more, or not yet, are refused in one
// line and stay as they are. The last program that read versions 1 and 2, which
// were never released, has written their files.
func TestOtherFormats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	for name, c := range map[string]struct {
		fixture string
		want    error
	}{
		"1": {"testdata/format1.db", storage.ErrOlderFormat},
		"2": {"testdata/format2.db", storage.ErrOlderFormat},
		"5": {"testdata/format4.db", storage.ErrNewerFormat},
	} {
		copyFixture(t, c.fixture, path)
		if c.want == storage.ErrNewerFormat {
			db, err := bbolt.Open(path, 0, boltOptions(false))
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(btx *bbolt.Tx) error {
				return btx.Bucket(bucketMeta).Put(keyFormat, binary.BigEndian.AppendUint32(nil, formatVersion+1))
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for how, open := range map[string]func() error{
			"Open":         func() error { _, err := Open(path, nil); return err },
			"OpenReadOnly": func() error { _, err := OpenReadOnly(path); return err },
			"Verify":       func() error { return Verify(path, func(string) {}) },
		} {
			err := open()
			if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s of format %s: %v", how, name, err)
			}
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
			t.Errorf("the file of format %s was changed, %v", name, err)
		}
	}
}

// copyFixture puts a copy of a kept file into the place of the file at path.
func copyFixture(t *testing.T, fixture, path string) {
	t.Helper()
	b, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
