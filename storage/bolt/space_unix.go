//go:build linux || darwin

package bolt

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace returns how many bytes can be written to the disk that f is on.
func freeSpace(f *os.File) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
