//go:build unix

package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"foyer"
	"foyer/storage"
)

// A store notices that its file is not where it was, goes on reading it, and is
// well again when it is put back.
func TestRemovedFile(t *testing.T) {
	for what, remove := range map[string]func(path string) error{
		"moved": func(path string) error { return os.Rename(path, path+".away") },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, []byte("another"), 0o600))
		},
		"moved with its folder": func(path string) error { return os.Rename(filepath.Dir(path), filepath.Dir(path)+".away") },
		"replaced by way of its folder": func(path string) error {
			folder := filepath.Dir(path)
			return errors.Join(os.Rename(folder, folder+".away"), os.WriteFile(folder, nil, 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "folder")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "rooms.db")
			s := &troubled{Store: openQuick(t, path), t: t, path: path}
			defer s.Store.Close()
			if err := errors.Join(s.Check(), s.register("hall", 1)); err != nil {
				t.Fatal(err)
			}
			if err := remove(path); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); !errors.Is(err, foyer.ErrUnavailable) || !errors.Is(err, storage.ErrRemoved) {
				t.Errorf("Check() = %v", err)
			}
			s.want("hall", true)
			if list, err := s.List("", 10); err != nil || len(list) != 1 {
				t.Errorf("List = %v, %v", list, err)
			}
			for _, p := range []string{folder, path} { // put back what was moved
				if _, err := os.Stat(p + ".away"); err == nil {
					if err := errors.Join(os.RemoveAll(p), os.Rename(p+".away", p)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := errors.Join(s.Check(), s.register("inn", 1), s.Close()); err != nil {
				t.Error(err)
			}
			s.Store = openQuick(t, path)
			s.want("hall", true)
			s.want("inn", true)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); !errors.Is(err, storage.ErrRemoved) {
				t.Errorf("Close() = %v", err)
			}
		})
	}
}
