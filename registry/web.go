package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"

	"foyer/admin"
	"foyer/internal/command"
	"foyer/internal/udp"
	"foyer/storage/bolt"
)

// leastToken is how long a token of --admin-token-file is, at least, in bytes: one that
// is guessed at over the network.
const leastToken = 16

// checkHTTP checks --http and --admin-token-file, and returns the token.
func (o *serveOptions) checkHTTP() (token string, err error) {
	if o.token != "" {
		if token, err = readToken(o.token); err != nil {
			return "", err
		}
	}
	if o.http == "off" {
		return token, nil
	}
	if err := checkAddress("http", o.http); err != nil {
		return "", err
	}
	if token == "" && !isLoopback(o.http) {
		return "", command.Usagef("--http %s can be reached from elsewhere: give it an --admin-token-file, or a loopback address as 127.0.0.1:7667", o.http)
	}
	return token, nil
}

// isLoopback reports whether an address of --http is of this machine alone.
func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// hostName returns the host of --http if that is a name.
func hostName(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// readToken reads a token from a file.
func readToken(path string) (string, error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	token := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", path, err)
	case len(token) < leastToken:
		return "", fmt.Errorf("%s: the token has %d characters, and must have %d or more", path, len(token), leastToken)
	case strings.ContainsAny(token, " \t\r\n"):
		return "", fmt.Errorf("%s: the token is not one word", path)
	}
	return token, nil
}

// openRegular opens a regular file; opening a pipe might block for ever.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is not a regular file", path)
	}
	return os.Open(path)
}

// usage says how much space the store takes.
func usage(store *bolt.Store, flag *storeFlag) admin.Store {
	s := admin.Store{Path: flag.path}
	size, err := store.Usage()
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	s.File, s.Free, s.DiskFree = size.File, size.Free, size.DiskFree
	return s
}

func addresses(conns []udp.Conn) (all []string) {
	for _, c := range conns {
		if a := c.LocalAddr().String(); len(all) == 0 || all[0] != a { // the sockets of one address
			all = append(all, a)
		}
	}
	return all
}
