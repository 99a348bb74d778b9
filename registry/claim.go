package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
)

// checkSocket returns an error if a registry listens on the socket, even if it
// is suspended. The caller holds the database, or there is none, so that
// registry's database has been removed.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // a missing folder is reported elsewhere
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is in the way: it is not a socket", path)
	}
	err = withShortPath(path, func(short string) error {
		c, err := net.DialTimeout("unix", short, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil // left by a registry that was killed
	case err != nil && runtime.GOOS == "windows": // has other errors, but does not let open files be removed
		return nil
	}
	return fmt.Errorf("a registry that still runs listens on %s, and its database was removed or replaced: end it first, after saving what `registry dump` prints", path)
}

// An adminListener is the admin interface's socket. Close removes the socket
// file.
type adminListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Close closes the socket and removes its file, unless another one has taken
// its place.
func (l *adminListener) Close() error {
	err := l.UnixListener.Close()
	if info, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(info, l.made) {
		return errors.Join(err, os.Remove(l.path))
	}
	return err
}
