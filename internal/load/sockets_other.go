//go:build !linux

package load

import (
	"errors"
	"net/netip"
)

const canShare = false

func openShared(netip.AddrPort, int, int) (sockets, error) { return nil, errors.ErrUnsupported }
