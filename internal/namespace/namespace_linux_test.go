package namespace_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"foyer/internal/namespace"
)

// A link passes on what it is told to, and no more.
func TestConnect(t *testing.T) {
	const datagrams = 2000
	for _, c := range []struct {
		name        string
		faults      namespace.Faults
		least, most int // datagrams that arrive
	}{
		{"sound", namespace.Faults{}, datagrams, datagrams},
		{"lossy", namespace.Faults{Loss: 0.2, Delay: 2 * time.Millisecond, Jitter: 2 * time.Millisecond}, datagrams * 7 / 10, datagrams * 9 / 10},
		{"doubling", namespace.Faults{Duplicate: 0.5, Delay: 2 * time.Millisecond, Jitter: 2 * time.Millisecond}, datagrams * 13 / 10, datagrams * 17 / 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := namespace.NewNetwork(t), namespace.NewNetwork(t)
			namespace.Connect(t,
				namespace.Interface{Namespace: a, Name: "near", Addresses: []string{"10.7.0.1/24", "fd07::1/64"}},
				namespace.Interface{Namespace: b, Name: "far", Addresses: []string{"10.7.0.2/24", "fd07::2/64"}},
				c.faults, 1)
			receiver, err := b.ListenUDP()
			if err != nil {
				t.Fatal(err)
			}
			defer receiver.Close()
			sender, err := a.ListenUDP()
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			port := receiver.LocalAddr().(*net.UDPAddr).Port
			arrived := 0
			buf := make([]byte, 10)
			// A few at a time, so that only the link loses datagrams.
			for i := range datagrams {
				to := net.UDPAddr{IP: net.ParseIP([]string{"10.7.0.2", "fd07::2"}[i%2]), Port: port}
				if _, err := sender.WriteToUDP([]byte("x"), &to); err != nil {
					t.Fatal(err)
				}
				if i%200 < 199 && i < datagrams-1 {
					continue
				}
				silence := 200 * time.Millisecond
				if c.faults == (namespace.Faults{}) {
					silence = 10 * time.Second // which ends as soon as all are there
				}
				receiver.SetReadDeadline(time.Now().Add(silence))
				for {
					if _, err := receiver.Read(buf); err != nil {
						break
					}
					arrived++
					if c.faults == (namespace.Faults{}) && arrived == i+1 {
						break
					}
				}
			}
			if arrived < c.least || arrived > c.most {
				t.Errorf("%d of %d datagrams arrived, want %d to %d", arrived, datagrams, c.least, c.most)
			}
		})
	}
}

// Mounts are not visible outside, and are full when they should be.
func TestMounts(t *testing.T) {
	folder := t.TempDir()
	n := namespace.NewMounts(t)
	n.MountTmpfs(t, folder, 1<<20)
	file := filepath.Join(folder, "file")
	if err := n.Do(func() error { return os.WriteFile(file, make([]byte, 2<<20), 0o600) }); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing two megabytes: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
	if err := n.RemountTmpfs(folder, true); err != nil {
		t.Fatal(err)
	}
	if err := n.Do(func() error { return os.WriteFile(file, nil, 0o600) }); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing to a read-only file system: %v", err)
	}
	if err := n.RemountTmpfs(folder, false); err != nil {
		t.Fatal(err)
	}
	if err := n.Do(func() error { return os.WriteFile(file, nil, 0o600) }); err != nil {
		t.Errorf("writing again: %v", err)
	}
}
