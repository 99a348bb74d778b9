//go:build unix

package main

import (
	"net"
	"syscall"
)

// listenPrivately makes a socket of mode 0600. The umask is that of the whole
// process, so this runs before anything else creates files.
func listenPrivately(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}
