//go:build !linux

package udp

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// canShare: elsewhere several sockets on one port do not divide what arrives.
const canShare = false

func share(string, string, syscall.RawConn) error { return nil }

func newConn(c *net.UDPConn) (Conn, error) { return Single(c), nil }

// isPeerError reports whether a read failed because of what some peer did, such
// as Windows' WSAECONNRESET after a reply to a closed port.
func isPeerError(err error) bool {
	return !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded)
}
