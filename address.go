package foyer

import (
	"net/netip"
	"strconv"
	"strings"
)

// MaxAddress is the longest address, in bytes. It keeps the reply to a look-up
// within three times the size of its request; see docs/protocol.md, "Size".
const MaxAddress = 64

const scheme = "room://"

// An Address is where a room listens, in canonical form: room://host:port with
// the host an IPv4 address, an IPv6 address in brackets in the form of RFC
// 5952, or a DNS name in lower case, and the port 1 to 65535 without leading
// zeros. An IPv4-mapped IPv6 address is written as IPv4. Nothing is looked up
// in the DNS: a host's name and its IP address make two different addresses.
type Address string

// ParseAddress returns the canonical form of s. Its error is a [*Error] of code
// [BadAddress].
func ParseAddress(s string) (Address, error) {
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return "", Errorf(BadAddress, "the address does not begin with %s", scheme)
	}
	hostport := s[len(scheme):]
	colon := strings.LastIndexByte(hostport, ':')
	if colon < 0 || strings.HasSuffix(hostport, "]") {
		return "", Errorf(BadAddress, "the address has no port")
	}
	host, ok := canonicalHost(hostport[:colon])
	if !ok {
		return "", Errorf(BadAddress, "the host is no IPv4 address, no IPv6 address in brackets and no DNS name")
	}
	port, ok := canonicalPort(hostport[colon+1:])
	if !ok {
		return "", Errorf(BadAddress, "the port is not a number from 1 to 65535")
	}
	if len(scheme)+len(host)+1+len(port) > MaxAddress {
		return "", Errorf(BadAddress, "the address is longer than %d bytes", MaxAddress)
	}
	if s[:len(scheme)] == scheme && host == hostport[:colon] && port == hostport[colon+1:] {
		return Address(s), nil
	}
	return Address(scheme + host + ":" + port), nil
}

// AddressOf returns the address of a room that listens on host, which may be
// an IP address without brackets or a DNS name, and port.
func AddressOf(host string, port uint16) (Address, error) {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return ParseAddress(scheme + host + ":" + strconv.Itoa(int(port)))
}

// HostPort returns host and port as net.Dial and net.ResolveUDPAddr take them.
func (a Address) HostPort() string { return strings.TrimPrefix(string(a), scheme) }

// IP returns the host, and false if that is a DNS name.
func (a Address) IP() (host netip.Addr, ok bool) {
	ap, err := netip.ParseAddrPort(a.HostPort())
	return ap.Addr(), err == nil
}

func canonicalPort(s string) (string, bool) {
	digits := strings.TrimLeft(s, "0")
	if digits == "" || len(digits) > 5 {
		return "", false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	return digits, err == nil && n > 0
}

func canonicalHost(s string) (string, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", false
		}
		if ip.Is4In6() {
			return ip.Unmap().String(), true
		}
		return "[" + ip.String() + "]", true
	}
	s = strings.TrimSuffix(s, ".") // the root label; the name is the same without it
	last := s[strings.LastIndexByte(s, '.')+1:]
	if last != "" && last[0] >= '0' && last[0] <= '9' {
		if isDigits(last) { // no top-level domain is a number (RFC 3696, section 2)
			return canonicalIPv4(s)
		}
		if len(last) > 1 && (last[1]|0x20) == 'x' { // 0x7f.1 is an address to some resolvers
			return "", false
		}
	}
	return canonicalDNSName(s)
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// canonicalIPv4 reads four decimal numbers and drops leading zeros; they do not
// mean octal.
func canonicalIPv4(s string) (string, bool) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, true // netip refuses leading zeros, so this is canonical
	}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return "", false
	}
	for i, p := range parts {
		if !isDigits(p) {
			return "", false
		}
		if p = strings.TrimLeft(p, "0"); p == "" {
			p = "0"
		}
		parts[i] = p
	}
	ip, err := netip.ParseAddr(strings.Join(parts, "."))
	return ip.String(), err == nil
}

// canonicalDNSName takes letters, digits and inner hyphens as RFC 1123 does,
// and underscores, which container networks put into host names.
func canonicalDNSName(s string) (string, bool) {
	if s == "" || len(s) > 253 {
		return "", false
	}
	upper := false
	start := 0
	for i := range len(s) + 1 {
		if i == len(s) || s[i] == '.' {
			if i == start || i-start > 63 || s[start] == '-' || s[i-1] == '-' {
				return "", false
			}
			start = i + 1
			continue
		}
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		default:
			return "", false
		}
	}
	if upper {
		s = strings.ToLower(s)
	}
	return s, true
}
