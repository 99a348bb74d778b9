package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// maxAddresses is how many addresses of one host are tried.
const maxAddresses = 4

// SplitHostPort splits host:port into a host, which is not empty and may be an IP
// address, and a port from 1 to 65535.
func SplitHostPort(hostport string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(hostport)
	n, portErr := strconv.ParseUint(service, 10, 16)
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("%q is not of the form host:port", hostport)
	case host == "":
		return "", 0, fmt.Errorf("%q names no host", hostport)
	case portErr != nil || n == 0:
		return "", 0, errors.New("the port is not a number from 1 to 65535")
	}
	return host, uint16(n), nil
}

// LookupHost returns the addresses of host:port in the order of the resolver.
func LookupHost(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	host, port, err := SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), port)}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, maxAddresses)
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return addrs, nil
}
