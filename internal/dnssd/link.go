package dnssd

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const port = 5353

var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	group6 = netip.MustParseAddr("ff02::fb")
)

// maxLinks is how many interfaces are used, the first ones by number. Linux lets
// a socket join 20 groups (igmp_max_memberships).
const maxLinks = 16

// A link is an interface on which multicasts are sent.
type link struct {
	net.Interface
	prefixes []netip.Prefix // its addresses, with the networks that they are in
}

// links returns the interfaces that are up, have addresses, and lead to several
// hosts: neither loopback nor a tunnel.
func links() ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []link
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		l := link{Interface: i}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.prefixes = append(l.prefixes, p)
			}
		}
		if len(l.prefixes) > 0 && len(found) < maxLinks {
			found = append(found, l)
		}
	}
	return found, nil
}

// reaches reports whether a, with its zone if it has one, is on the link.
func (l *link) reaches(a netip.Addr) bool {
	if a = a.Unmap(); a.Zone() != "" {
		return a.Zone() == l.Name
	}
	return slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// addrs returns the link's addresses that a registry that listens on listen can
// be asked at. Link-local ones of IPv6 are left out: they need a zone, which the
// address of a room cannot have.
func (l *link) addrs(listen netip.Addr) []netip.Addr {
	var found []netip.Addr
	for _, p := range l.prefixes {
		a := p.Addr().Unmap()
		switch {
		case len(found) == maxAddrs, a.Is6() && a.IsLinkLocalUnicast():
		case a == listen, listen == netip.IPv6Unspecified(), listen == netip.IPv4Unspecified() && a.Is4():
			found = append(found, a)
		}
	}
	return found
}

// maxAddrs is how many addresses of an interface are announced, so that the
// records fit into a packet.
const maxAddrs = 16

// A socket sends and receives the multicasts of one version of IP.
type socket struct {
	*net.UDPConn
	v4 *ipv4.PacketConn // one of these
	v6 *ipv6.PacketConn
}

// open opens the sockets that the machine allows, at least one: the port of
// multicast DNS, shared with other programs, or a free one.
func open(shared bool) ([]*socket, error) {
	at4, at6 := "0.0.0.0:0", "[::]:0"
	if shared { // Go binds these to the wildcard address, with SO_REUSEADDR
		at4, at6 = "224.0.0.251:5353", "[ff02::fb]:5353"
	}
	var all []*socket
	c4, err := net.ListenPacket("udp4", at4)
	if err == nil {
		s := &socket{UDPConn: c4.(*net.UDPConn), v4: ipv4.NewPacketConn(c4)}
		_ = s.v4.SetMulticastTTL(255) // section 11: some old programs check that
		_ = s.v4.SetMulticastLoopback(true)
		all = append(all, s)
	}
	c6, err6 := net.ListenPacket("udp6", at6)
	if err6 == nil {
		s := &socket{UDPConn: c6.(*net.UDPConn), v6: ipv6.NewPacketConn(c6)}
		_ = s.v6.SetMulticastHopLimit(255)
		_ = s.v6.SetMulticastLoopback(true)
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errors.Join(err, err6)
	}
	return all, nil
}

// join makes the socket receive what is sent to the group on the link. Where
// the link has no address of the socket's version, it cannot.
func (s *socket) join(l *link) error {
	if s.v4 != nil {
		return s.v4.JoinGroup(&l.Interface, &net.UDPAddr{IP: group4.AsSlice()})
	}
	return s.v6.JoinGroup(&l.Interface, &net.UDPAddr{IP: group6.AsSlice()})
}

// multicast sends b on the link. It is called from one goroutine at a time.
func (s *socket) multicast(l *link, b []byte) error {
	to := netip.AddrPortFrom(group6.WithZone(l.Name), port)
	if s.v4 != nil {
		if err := s.v4.SetMulticastInterface(&l.Interface); err != nil {
			return err
		}
		to = netip.AddrPortFrom(group4, port)
	}
	_, err := s.WriteToUDPAddrPort(b, to)
	return err
}
