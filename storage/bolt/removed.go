package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"foyer/storage"
)

// Check implements [storage.Store]. The file stays open: it can still be read, and
// if it is put back all is well again.
func (s *Store) Check() error { return unavailable(s.removed()) }

// removed returns an error if the path does not lead to the file that is open.
// What keeps it from being looked at proves nothing, and is no error.
func (s *Store) removed() error {
	info, err := os.Stat(s.path)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	if gone || err == nil && !os.SameFile(info, s.file) {
		return fmt.Errorf("%s: %w", s.path, storage.ErrRemoved)
	}
	return nil
}
