//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"foyer/internal/load"
)

// domain is where the rooms are in DNS.
const domain = "rooms.test"

// Rooms are the first so many rooms of `registry bench`, in the files that the
// other systems and their tools read.
type rooms struct {
	count uint64

	list    string // name, tab, address
	zone    string // SRV and A records of each, with the room's name as owner
	queries string // the SRV questions, for dnsperf
}

func roomName(n uint64) string    { return string(load.AppendName(nil, n)) }
func roomAddress(n uint64) string { return string(load.AppendAddress(nil, n)) }

// hostPort returns the two parts of a room's address.
func hostPort(n uint64) (host, port string) {
	host, port, _ = strings.Cut(strings.TrimPrefix(roomAddress(n), "room://"), ":")
	return host, port
}

func (s *stage) writeRooms(count uint64) (*rooms, error) {
	r := &rooms{
		count:   count,
		list:    filepath.Join(s.dir, fmt.Sprintf("rooms-%d.tsv", count)),
		zone:    filepath.Join(s.dir, fmt.Sprintf("rooms-%d.zone", count)),
		queries: filepath.Join(s.dir, fmt.Sprintf("rooms-%d.queries", count)),
	}
	head := "$ORIGIN " + domain + ".\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"
	for _, f := range []struct {
		path, head string
		line       func(n uint64) string
	}{
		{r.list, "", func(n uint64) string { return roomName(n) + "\t" + roomAddress(n) }},
		{r.zone, head, func(n uint64) string {
			name := roomName(n)
			host, port := hostPort(n)
			return name + " SRV 0 0 " + port + " " + name + "\n" + name + " A " + host
		}},
		{r.queries, "", func(n uint64) string { return roomName(n) + "." + domain + " SRV" }},
	} {
		if err := writeLines(f.path, f.head, count, f.line); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func writeLines(path, head string, count uint64, line func(n uint64) string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	_, _ = w.WriteString(head)
	for n := range count {
		_, _ = w.WriteString(line(n))
		_ = w.WriteByte('\n')
	}
	return w.Flush() // any error before is repeated here
}
