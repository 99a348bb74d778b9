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

// checkSocket returns an error if a registry listens on the socket, also one that
// is stopped. Whoever asks holds the database, or there is none: then that
// registry has one that was removed.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // a folder that is missing is for others to object to
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
		return nil // what a registry that was killed has left
	case err != nil && runtime.GOOS == "windows": // has other errors, but lets nobody remove a file that is open
		return nil
	}
	return fmt.Errorf("a registry that still runs listens on %s, and its database was removed or replaced: end it first, after saving what `registry dump` prints", path)
}

// An adminListener is the admin interface's socket, which it removes when it is
// closed.
type adminListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Close closes the socket, and removes it unless another one is in its place.
func (l *adminListener) Close() error {
	err := l.UnixListener.Close()
	if info, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(info, l.made) {
		return errors.Join(err, os.Remove(l.path))
	}
	return err
}
