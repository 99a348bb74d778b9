package bolt

import (
	"os"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// releasePages tells the kernel that what db has mapped of its file is not
// needed just now. The pages stay in the page cache, and come back when they are
// read; they no longer count as this process's memory.
func releasePages(db *bbolt.DB, size int64) {
	page := int64(os.Getpagesize())
	length := size / page * page // never more than is mapped
	if length > 0 {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(length), unix.MADV_DONTNEED)
	}
}
