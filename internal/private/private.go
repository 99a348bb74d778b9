// Package private opens files that nobody else could have put there: they and
// their folder belong to the user running this program, even if that is root,
// and nobody else may change them. docs/decisions/0022-whose-key-it-is.md says
// why.
package private

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OpenFolder opens a folder that only this user can change, and makes it if
// there is none. Going through the open folder, what was checked stays what is
// used even if paths change. Errors call the folder what ("state folder") and
// begin their advice with use ("give --state").
func OpenFolder(dir, what, use string) (*os.Root, error) {
	dir = filepath.Clean(dir) // a trailing slash would hide a link
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the %s cannot be made: %w", what, err)
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if link.Mode()&fs.ModeSymlink != 0 {
		if owner, theirs := foreign(link); theirs && owner != 0 {
			return nil, fmt.Errorf("the %s %s is a link of user %d: %s the folder itself", what, dir, owner, use)
		}
	}
	folder, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	info, err := folder.Stat(".")
	if err == nil {
		err = checkOwn(info, what, dir, use+" another one")
	}
	if err == nil && hasMode(info, 0o022) {
		err = fmt.Errorf("the %s %s has mode %#o: others could put keys there; run chmod go-w", what, dir, info.Mode().Perm())
	}
	if err != nil {
		folder.Close()
		return nil, err
	}
	return folder, nil
}

// Open opens an existing file, which must be a regular one of this user, not
// open to others, and not a link. Errors call it what ("key file"); others is
// what they say if others can open it.
func Open(folder *os.Root, name, what string, flag int, others string) (*os.File, error) {
	path := filepath.Join(folder.Name(), name)
	named, err := folder.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the %s %s cannot be opened: %w", what, path, err)
	case named.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("the %s %s is a link: put the file itself there, or remove it", what, path)
	case !named.Mode().IsRegular(): // opening it might block
		return nil, fmt.Errorf("the %s %s is not a file", what, path)
	}
	if err := checkOwn(named, what, path, "remove it if it is not yours"); err != nil {
		return nil, err
	}
	if hasMode(named, 0o077) {
		return nil, fmt.Errorf("the %s %s has mode %#o: %s", what, path, named.Mode().Perm(), others)
	}
	f, err := folder.OpenFile(name, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("the %s %s cannot be opened: %w", what, path, err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(named, info) {
		err = fmt.Errorf("the %s %s was replaced while it was being opened", what, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkOwn refuses what belongs to somebody else.
func checkOwn(info fs.FileInfo, what, path, instead string) error {
	if owner, theirs := foreign(info); theirs {
		return fmt.Errorf("the %s %s belongs to user %d, and this program runs as user %d: run chown %[4]d, or %[5]s", what, path, owner, os.Geteuid(), instead)
	}
	return nil
}

// Create makes a file that is open to this user only. If there is one already
// it leaves that alone, and the error is [fs.ErrExist]. A crash leaves either
// the whole file or none of that name.
func Create(folder *os.Root, name string, text []byte) error {
	fresh := "new-" + rand.Text() + filepath.Ext(name)
	f, err := folder.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer folder.Remove(fresh)
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := folder.Link(fresh, name); err != nil { // renaming would replace what another program has just made
		return err
	}
	return syncFolder(folder)
}
