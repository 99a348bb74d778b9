package namespace

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"foyer/internal/testenv"
)

// Faults are what a link does to packets, in each direction.
type Faults struct {
	Loss      float64       // share of packets that are lost
	Duplicate float64       // share of packets that arrive twice
	Delay     time.Duration // the mean; a packet's own is up to Jitter more or less,
	Jitter    time.Duration // so that packets overtake each other
}

// An Interface is one end of a link.
type Interface struct {
	*Namespace
	Name      string   // of at most 15 bytes
	Addresses []string // with the length of the prefix: "10.0.0.1/24"
}

// Connect links two namespaces. Faults are made by netem, Linux's network
// emulator, if the kernel has it. Otherwise, as [testenv.Instead] reports, the
// link is two TUN devices and this process, which passes packets between them
// with the same faults.
func Connect(t testing.TB, a, b Interface, f Faults, seed uint64) {
	t.Helper()
	if f != (Faults{}) {
		if !hasNetem(t) {
			testenv.Instead(t, "over a link of the test's own, as the kernel has no netem")
			connectTUN(t, a, b, f, seed)
			return
		}
	}
	a.Run(t, "ip", "link", "add", a.Name, "type", "veth", "peer", "name", b.Name)
	// ip takes the number of a thread where it takes that of a process.
	tid := 0
	_ = b.Do(func() error { tid = unix.Gettid(); return nil })
	a.Run(t, "ip", "link", "set", b.Name, "netns", strconv.Itoa(tid))
	for _, i := range []Interface{a, b} {
		if f != (Faults{}) {
			i.Run(t, "tc", append([]string{"qdisc", "add", "dev", i.Name, "root"}, f.netem()...)...)
		}
		i.up(t)
	}
}

func hasNetem(t testing.TB) bool {
	return NewNetwork(t).run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%") == nil
}

// netem returns the arguments of tc-netem(8). The limit is far above what the
// delay makes wait there.
func (f *Faults) netem() []string {
	percent := func(share float64) string { return fmt.Sprintf("%g%%", 100*share) }
	return []string{"netem", "limit", "100000", "delay", f.Delay.String(), f.Jitter.String(),
		"loss", "random", percent(f.Loss), "duplicate", percent(f.Duplicate)}
}

func (i *Interface) up(t testing.TB) {
	t.Helper()
	for _, address := range i.Addresses {
		i.Run(t, "ip", "addr", "add", address, "dev", i.Name, "nodad")
	}
	i.Run(t, "ip", "link", "set", i.Name, "up")
}

func connectTUN(t testing.TB, a, b Interface, f Faults, seed uint64) {
	t.Helper()
	fa, fb := a.openTUN(t), b.openTUN(t)
	a.up(t)
	b.up(t)
	carry(t, fa, fb, f, rand.New(rand.NewPCG(seed, 1)))
	carry(t, fb, fa, f, rand.New(rand.NewPCG(seed, 2)))
}

// openTUN makes a device whose packets are read from and written to a file.
func (i *Interface) openTUN(t testing.TB) *os.File {
	t.Helper()
	var f *os.File
	err := i.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(i.Name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		f = os.NewFile(uintptr(fd), "tun "+i.Name)
		return err
	})
	if err != nil {
		testenv.NotRun(t, "neither netem nor TUN devices: %v", err)
	}
	return f
}

// maxDelayed bounds the packets in flight in one direction; more are lost, as
// in any queue.
const maxDelayed = 10_000

// carry passes packets on until the end of the test.
func carry(t testing.TB, from, to *os.File, f Faults, random *rand.Rand) {
	var delayed atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return // closed
			}
			copies := 1
			if random.Float64() < f.Duplicate {
				copies = 2
			}
			for range copies {
				late := f.Delay + time.Duration((2*random.Float64()-1)*float64(f.Jitter))
				if random.Float64() < f.Loss || delayed.Load() >= maxDelayed {
					continue
				}
				packet := append([]byte(nil), buf[:n]...)
				delayed.Add(1)
				time.AfterFunc(late, func() {
					delayed.Add(-1)
					_, _ = to.Write(packet) // a full device drops it
				})
			}
		}
	}()
	t.Cleanup(func() {
		from.Close()
		<-done
	})
}
