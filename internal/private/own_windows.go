package private

import (
	"io/fs"
	"os"
)

// Access lists say here who may do what, and a user's folders are closed to
// others unless somebody opens them. Owners by number and modes are made up.

func foreign(fs.FileInfo) (owner int, theirs bool) { return 0, false }

func hasMode(fs.FileInfo, fs.FileMode) bool { return false }

// syncFolder does nothing: a folder cannot be flushed here.
func syncFolder(*os.Root) error { return nil }
