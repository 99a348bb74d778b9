//go:build unix

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"foyer/internal/testenv"
)

// Package testing creates folders as open as the umask allows, and 002 is
// common.
func init() { syscall.Umask(0o022) }

// somebody is a user who does not run these tests.
const somebody = 12345

// give makes path, without following links, belong to somebody else.
func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.NotRun(t, "giving files to others needs root")
	}
	if err := os.Lchown(path, somebody, -1); err != nil {
		t.Fatal(err)
	}
}

// A site is a folder with the state of the room Hall, and a place beside it.
type site struct{ dir, key, lock, beside string }

func newSite(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	s := site{dir: filepath.Join(dir, "state"), beside: filepath.Join(dir, "beside")}
	base := filepath.Join(s.dir, fileName("Hall"))
	s.key, s.lock = base+".key", base+".lock"
	id, err := openIdentity(s.dir, "Hall")
	if err != nil {
		t.Fatal(err)
	}
	id.Close()
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files describes everything in and beside the folder.
func (s site) files(t *testing.T) string {
	var b strings.Builder
	must(t, filepath.WalkDir(filepath.Dir(s.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.Write(text)
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}

// Files that somebody else could have made are refused, and nothing is created
// or changed where links lead.
func TestStateOfOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, s site)
		reason string // with the paths of the site as DIR, KEY, LOCK
	}{
		{"folder open to the group", func(t *testing.T, s site) { must(t, os.Chmod(s.dir, 0o770)) },
			"the state folder DIR has mode 0770: others could put keys there; run chmod go-w"},
		{"folder open to everybody", func(t *testing.T, s site) { must(t, os.Chmod(s.dir, 0o702)) },
			"the state folder DIR has mode 0702: others could put keys there; run chmod go-w"},
		{"folder of somebody", func(t *testing.T, s site) { give(t, s.dir) },
			"the state folder DIR belongs to user 12345, and this program runs as user 0: run chown 0, or give --state another one"},
		{"link to a folder of somebody", func(t *testing.T, s site) {
			must(t, os.Rename(s.dir, s.beside))
			give(t, s.beside)
			must(t, os.Symlink("beside", s.dir))
		}, "the state folder DIR belongs to user 12345, and this program runs as user 0: run chown 0, or give --state another one"},
		{"link of somebody", func(t *testing.T, s site) {
			must(t, os.Rename(s.dir, s.beside))
			must(t, os.Symlink("beside", s.dir))
			give(t, s.dir)
		}, "the state folder DIR is a link of user 12345: give --state the folder itself"},
		{"link to nowhere", func(t *testing.T, s site) {
			must(t, os.RemoveAll(s.dir))
			must(t, os.Symlink("beside", s.dir))
		}, "the state folder cannot be made: mkdir DIR: file exists"},

		{"key of somebody", func(t *testing.T, s site) { give(t, s.key) },
			"the key file KEY belongs to user 12345, and this program runs as user 0: run chown 0, or remove it if it is not yours"},
		{"key readable by the group", func(t *testing.T, s site) { must(t, os.Chmod(s.key, 0o640)) },
			"the key file KEY has mode 0640: others could use the key; run chmod 600, or remove it if they have"},
		{"key that is a link", func(t *testing.T, s site) {
			must(t, os.Rename(s.key, s.beside))
			must(t, os.Symlink("../beside", s.key))
		}, "the key file KEY is a link: put the file itself there, or remove it"},
		{"key that is a link within the folder", func(t *testing.T, s site) {
			must(t, os.Rename(s.key, filepath.Join(s.dir, "other")))
			must(t, os.Symlink("other", s.key))
		}, "the key file KEY is a link: put the file itself there, or remove it"},
		{"key that is a link to nowhere", func(t *testing.T, s site) {
			must(t, os.Remove(s.key))
			must(t, os.Symlink("new", s.key))
		}, "the key file KEY is a link: put the file itself there, or remove it"},
		{"key that is a pipe", func(t *testing.T, s site) {
			must(t, os.Remove(s.key))
			must(t, syscall.Mkfifo(s.key, 0o600))
		}, "the key file KEY is not a file"},

		{"lock of somebody", func(t *testing.T, s site) { give(t, s.lock) },
			"the lock file LOCK belongs to user 12345, and this program runs as user 0: run chown 0, or remove it if it is not yours"},
		{"lock readable by everybody", func(t *testing.T, s site) { must(t, os.Chmod(s.lock, 0o604)) },
			"the lock file LOCK has mode 0604: others could hold the lock; run chmod 600, or remove it"},
		{"lock that is a link", func(t *testing.T, s site) {
			must(t, os.Rename(s.lock, s.beside))
			must(t, os.Symlink("../beside", s.lock))
		}, "the lock file LOCK is a link: put the file itself there, or remove it"},
		{"lock that is a link to nowhere", func(t *testing.T, s site) {
			must(t, os.Remove(s.lock))
			must(t, os.Symlink("new", s.lock))
		}, "the lock file LOCK is a link: put the file itself there, or remove it"},
		{"lock that is a pipe", func(t *testing.T, s site) {
			must(t, os.Remove(s.lock))
			must(t, syscall.Mkfifo(s.lock, 0o600))
		}, "the lock file LOCK is not a file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			c.spoil(t, s)
			before := s.files(t)
			for _, dir := range []string{s.dir, s.dir + "/"} { // a slash does not hide a link
				id, err := openIdentity(dir, "Hall")
				want := strings.NewReplacer("DIR", s.dir, "KEY", s.key, "LOCK", s.lock).Replace(c.reason)
				if err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				if err == nil {
					id.Close()
				}
			}
			if after := s.files(t); after != before {
				t.Errorf("there was\n%sand there is\n%s", before, after)
			}
		})
	}
}

// The user's own link to their own folder is as good as the folder.
func TestStateBehindALink(t *testing.T) {
	s := newSite(t)
	first, err := openIdentity(s.dir, "Hall")
	must(t, err)
	must(t, first.Close())
	must(t, os.Rename(s.dir, s.beside))
	must(t, os.Symlink("beside", s.dir))
	second, err := openIdentity(s.dir+"/", "Hall")
	must(t, err)
	defer second.Close()
	if !bytes.Equal(first.key, second.key) {
		t.Error("the key is another one")
	}
	if _, err := openIdentity(s.beside, "Hall"); err == nil || !strings.HasPrefix(err.Error(), "another roomd serves") {
		t.Errorf("at the folder itself: %v", err)
	}
}
