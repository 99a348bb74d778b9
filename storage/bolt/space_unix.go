//go:build linux || darwin

package bolt

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes can be written to the disk that has a file.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}
