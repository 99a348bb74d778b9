package namespace

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"foyer/internal/testenv"
)

// A Namespace is a thread of this process in namespaces of its own. What runs
// on it, and processes started from it, see those.
type Namespace struct {
	jobs chan func() // run one after the other, until it is closed
}

// NewNetwork returns a namespace with its own network, which has only a
// loopback interface. It lasts until the end of the test.
func NewNetwork(t testing.TB) *Namespace {
	t.Helper()
	n := newNamespace(t, unix.CLONE_NEWNET, func() error { return nil })
	n.Run(t, "ip", "link", "set", "lo", "up")
	return n
}

// NewMounts returns a namespace whose mounts are not visible elsewhere. It
// lasts until the end of the test.
func NewMounts(t testing.TB) *Namespace {
	t.Helper()
	return newNamespace(t, unix.CLONE_NEWNS, func() error {
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	})
}

func newNamespace(t testing.TB, flags int, begin func() error) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.NotRun(t, "needs root")
	}
	n := &Namespace{jobs: make(chan func())}
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(flags)
		if err == nil {
			err = begin()
		}
		began <- err
		for job := range n.jobs {
			job()
		}
	}()
	t.Cleanup(func() { close(n.jobs) })
	if err := <-began; err != nil {
		testenv.NotRun(t, "no namespace: %v", err)
	}
	return n
}

// Do calls fn in the namespace. Goroutines that fn starts are outside it.
func (n *Namespace) Do(fn func() error) error {
	done := make(chan error)
	n.jobs <- func() { done <- fn() }
	return <-done
}

// Start starts a command in the namespace.
func (n *Namespace) Start(c *exec.Cmd) error { return n.Do(c.Start) }

// Run runs a command in the namespace, and fails the test if it fails.
func (n *Namespace) Run(t testing.TB, name string, args ...string) {
	t.Helper()
	if err := n.run(name, args...); err != nil {
		t.Fatal(err)
	}
}

func (n *Namespace) run(name string, args ...string) error {
	c := exec.Command(name, args...)
	var out []byte
	err := n.Do(func() (err error) {
		out, err = c.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w: %s", c, err, out)
	}
	return nil
}

// ListenUDP opens a socket on any address and port of the namespace. It stays
// in the namespace whatever goroutine uses it.
func (n *Namespace) ListenUDP() (c *net.UDPConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenUDP("udp", nil)
		return err
	})
	return c, err
}

// MountTmpfs mounts an in-memory file system of size bytes on a folder.
func (n *Namespace) MountTmpfs(t testing.TB, folder string, size int) {
	t.Helper()
	err := n.Do(func() error {
		return unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700", size))
	})
	if err != nil {
		testenv.NotRun(t, "mounting a tmpfs: %v", err)
	}
}

// RemountTmpfs makes the file system on a folder read-only, or writable again.
// Linux refuses the former while a file there is open for writing.
func (n *Namespace) RemountTmpfs(folder string, readOnly bool) error {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	return n.Do(func() error { return unix.Mount("", folder, "", flags, "") })
}
