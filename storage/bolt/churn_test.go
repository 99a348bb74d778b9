package bolt

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// TestFileAfterChurn: a file is at most three times as large as one into which the
// as many names were registered at once, however many have come and gone before.
// Outcomes are kept for ten minutes, so the changes take hours.
func TestFileAfterChurn(t *testing.T) {
	const names, rounds, each = 60_000, 300, 1000
	now := storage.Instant{Wall: time.UnixMilli(1e12).UTC()}
	id := uint64(0)
	change := func(s *Store, n int, pick func(i int) (name int, gone bool)) {
		now.Lease += time.Minute
		now.Wall = now.Wall.Add(time.Minute)
		err := s.Update(now, func(tx storage.Tx) error {
			for i := range n {
				name, gone := pick(i)
				id++
				o := storage.Outcome{Reply: make([]byte, 50)}
				binary.BigEndian.PutUint64(o.ID[:], id*0x9e3779b97f4a7c15)
				e := storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: foyer.Registration{
					Name: foyer.Name(fmt.Sprintf("room-%08x", uint32(name)*2654435761)), Address: foyer.Address(fmt.Sprintf("room://10.0.0.1:%d", name)), RegisteredAt: now.Wall,
				}}
				if old, err := tx.Get(e.Registration.Name); err == nil && gone {
					e.Kind, e.Registration = storage.Deregistered, old
				} else if err == nil {
					e.Kind = storage.Replaced
				} else if gone {
					continue
				}
				if err := tx.Apply(e); err != nil {
					return err
				}
				if err := tx.Record(o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	size := func(path string, fill func(s *Store)) float64 {
		s, err := Open(path, &Options{enoughPages: enoughPages, trimBlocks: trimBlocks, noSync: true})
		if err != nil {
			t.Fatal(err)
		}
		fill(s)
		if s.Len() != names {
			t.Errorf("%d names are registered, want %d", s.Len(), names)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		verify(t, path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return float64(info.Size())
	}
	all := func(s *Store) {
		for i := 0; i < names; i += each {
			change(s, each, func(j int) (int, bool) { return i + j, false })
		}
	}
	folder := t.TempDir()
	fresh := size(filepath.Join(folder, "fresh.db"), all)
	churned := size(filepath.Join(folder, "churned.db"), func(s *Store) {
		all(s)
		for n := names; n < names+rounds*each; n += each {
			change(s, each, func(i int) (int, bool) { return n + i, false })
			change(s, each, func(i int) (int, bool) { return n + i - names, true })
		}
	})
	if t.Logf("%.1f MB, and %.1f MB fresh", churned/1e6, fresh/1e6); churned > 3*fresh {
		t.Errorf("the file has %.1f MB, and one with the same names %.1f MB", churned/1e6, fresh/1e6)
	}
}
