//go:build unix

package private

import (
	"io/fs"
	"os"
	"syscall"
)

// foreign returns who owns a file, and whether that is somebody other than the
// user running this program.
func foreign(info fs.FileInfo) (owner int, theirs bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, true
	}
	owner = int(stat.Uid)
	return owner, owner != os.Geteuid()
}

// hasMode reports whether the file has any of the bits.
func hasMode(info fs.FileInfo, bits fs.FileMode) bool { return info.Mode()&bits != 0 }

// syncFolder makes the names in a folder durable.
func syncFolder(folder *os.Root) error {
	d, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
