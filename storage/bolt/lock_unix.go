//go:build unix && !solaris && !illumos && !aix

package bolt

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"foyer/storage"
)

// lockFile takes the lock that bbolt takes as well, before it: the file is to be
// looked at under it. bbolt's own call then finds it taken by itself.
func lockFile(f *os.File, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for tries := 0; ; tries++ {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		case tries >= int(lockTimeout/lockInterval):
			return storage.ErrLocked
		default:
			time.Sleep(lockInterval)
		}
	}
}

const lockInterval = 20 * time.Millisecond
