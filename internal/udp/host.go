package udp

import "net/netip"

// Host returns what counts as one host where something is bounded per host: an
// IPv4 address, or the first address of an IPv6 one's /64, because whoever has one
// address of such a network can use all of them. ::1 stays what it is, so that it
// is still loopback.
func Host(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if network, err := a.Prefix(64); err == nil && a.Is6() && !a.IsLoopback() {
		return network.Addr()
	}
	return a
}
