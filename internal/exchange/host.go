package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

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

// LookupHost returns the addresses of host:port in the order of the resolver,
// the first most of them. A nil resolve asks the system.
func LookupHost(ctx context.Context, resolve func(ctx context.Context, host string) ([]netip.Addr, error), hostport string, most int) ([]netip.AddrPort, error) {
	host, port, err := SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), port)}, nil
	}
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ips, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	ips = ips[:min(len(ips), most)]
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return addrs, nil
}
