//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// foreign returns who owns a file, and whether that is not who runs roomd.
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
