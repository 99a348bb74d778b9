package udptest_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"foyer/internal/udptest"
)

var (
	alice = netip.MustParseAddr("192.0.2.1")
	bob   = netip.MustParseAddr("192.0.2.2")
	carol = netip.MustParseAddr("2001:db8::3")
)

func listen(t *testing.T, n *udptest.Network, host netip.Addr, port uint16) *udptest.Conn {
	t.Helper()
	c, err := n.Listen(netip.AddrPortFrom(host, port))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, from, to *udptest.Conn, text string) {
	t.Helper()
	if n, err := from.WriteToUDPAddrPort([]byte(text), to.AddrPort()); n != len(text) || err != nil {
		t.Fatalf("write of %d bytes: %d, %v", len(text), n, err)
	}
}

// receive reads everything that arrives before wait is over.
func receive(t *testing.T, c *udptest.Conn, wait time.Duration) (texts []string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	var b [100]byte
	for {
		n, _, err := c.ReadFromUDPAddrPort(b[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return texts
		} else if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b[:n]))
	}
}

func numbers(n int) (texts []string) {
	for i := range n {
		texts = append(texts, strconv.Itoa(i))
	}
	return texts
}

func TestDeliversInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Second})
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 7666)
		want := numbers(100)
		for _, s := range want {
			send(t, a, b, s)
		}
		if got := receive(t, b, 2*time.Second); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

func TestSourceAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		n.SetFaults(udptest.Faults{MinDelay: 30 * time.Millisecond, MaxDelay: 40 * time.Millisecond})
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 7666)
		start := time.Now()
		mapped := netip.AddrPortFrom(netip.AddrFrom16(bob.As16()), 7666)
		if _, err := a.WriteToUDPAddrPort([]byte("hello, bob"), mapped); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		l, from, err := b.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:l]) != "hello" || from != a.AddrPort() {
			t.Errorf("got %q from %v, %v", buf[:l], from, err)
		}
		if d := time.Since(start); d < 30*time.Millisecond || d > 40*time.Millisecond {
			t.Errorf("took %v", d)
		}
		if got := a.LocalAddr().(*net.UDPAddr).AddrPort(); got != from {
			t.Errorf("local address %v", got)
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		n.SetQueue(1 << 20)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, MaxDelay: 5 * time.Millisecond})
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 7666)
		const sent = 20000
		for i, s := range numbers(sent) {
			if send(t, a, b, s); i%10 == 0 {
				time.Sleep(time.Millisecond) // fake time: the traffic of a second or two
			}
		}
		got := receive(t, b, time.Minute)
		seen, overtaken, top := map[string]int{}, 0, -1
		for _, s := range got {
			i, _ := strconv.Atoi(s)
			if seen[s]++; i < top && seen[s] == 1 {
				overtaken++
			}
			top = max(top, i)
		}
		twice := 0
		for _, times := range seen {
			if times == 2 {
				twice++
			} else if times > 2 {
				t.Fatalf("a datagram arrived %d times", times)
			}
		}
		near := func(what string, got int, want float64) {
			if share := float64(got) / sent; share < want*0.85 || share > want*1.15 {
				t.Errorf("%s: %.4f of the datagrams, want about %.4f", what, share, want)
			}
		}
		near("lost", sent-len(seen), 0.2)
		near("duplicated", twice, 0.8*0.1)
		if overtaken < sent/50 {
			t.Errorf("only %d datagrams were overtaken", overtaken)
		}
		st := n.Stats()
		if st.Sent != sent || st.Lost != sent-uint64(len(seen)) || st.Duplicated != uint64(twice) || st.Delivered != uint64(len(got)) {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestSeed checks that a seed decides everything, and that the traffic of
// others does not change what happens on a link.
func TestSeed(t *testing.T) {
	run := func(t *testing.T, seed uint64, others bool) (log string) {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(seed)
			n.SetFaults(udptest.Faults{Loss: 0.3, Duplicate: 0.3, Reorder: 0.3, MaxDelay: time.Second})
			a, b, c := listen(t, n, alice, 1), listen(t, n, bob, 1), listen(t, n, alice, 2)
			start := time.Now()
			for _, s := range numbers(200) {
				if others {
					send(t, c, b, "noise")
				}
				send(t, a, b, s)
			}
			if err := b.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			var buf [100]byte
			for {
				l, from, err := b.ReadFromUDPAddrPort(buf[:])
				if err != nil {
					return
				}
				if from == a.AddrPort() {
					log += fmt.Sprintln(string(buf[:l]), time.Since(start))
				}
			}
		})
		return log
	}
	first := run(t, 7, false)
	if again := run(t, 7, false); again != first {
		t.Error("the same seed gave another run")
	}
	if noisy := run(t, 7, true); noisy != first {
		t.Error("traffic on another link changed the run")
	}
	if other := run(t, 8, false); other == first {
		t.Error("another seed gave the same run")
	}
}

func TestLinksPartitionFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 0)
		ping := func() string {
			send(t, a, b, "there")
			send(t, b, a, "back")
			return strings.Join(append(receive(t, b, time.Second), receive(t, a, time.Second)...), " ")
		}
		expect := func(when, want string) {
			t.Helper()
			if got := ping(); got != want {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		expect("at first", "there back")
		n.SetLink(alice, bob, udptest.Faults{Loss: 1})
		expect("one direction lost", "back")
		n.ClearLinks()
		expect("links cleared", "there back")
		n.Partition([]netip.Addr{alice})
		expect("partitioned", "")
		n.Partition([]netip.Addr{alice, bob})
		expect("together", "there back")
		n.Partition([]netip.Addr{alice}, []netip.Addr{bob})
		expect("apart", "")
		n.Heal()
		expect("healed", "there back")
		n.SetFilter(func(from, _ netip.AddrPort, payload []byte) bool {
			return from.Addr() == bob && string(payload) == "back"
		})
		expect("filtered", "back")
		n.SetFilter(nil)
		n.Inject(netip.AddrPortFrom(carol, 1), a.AddrPort(), []byte("forged"))
		expect("with a forgery", "there forged back")
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		n.SetQueue(3)
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 0)
		for _, s := range numbers(10) {
			send(t, a, b, s)
		}
		if got := receive(t, b, time.Second); !slices.Equal(got, numbers(3)) {
			t.Errorf("got %q, want the first three", got)
		}
		if got := n.Stats().Overflowed; got != 7 {
			t.Errorf("overflowed %d", got)
		}
	})
}

func TestDeadlineAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		a := listen(t, n, alice, 0)
		read := func() chan error {
			failed := make(chan error, 1)
			go func() {
				_, _, err := a.ReadFromUDPAddrPort(make([]byte, 10))
				failed <- err
			}()
			synctest.Wait()
			return failed
		}
		// Three readers wait without a deadline; setting one ends them all.
		readers := []chan error{read(), read(), read()}
		start := time.Now()
		if err := a.SetReadDeadline(start.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for _, r := range readers {
			err := <-r
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v", err)
			}
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
		if err := a.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		reader := read()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-reader; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := a.WriteToUDPAddrPort(nil, a.AddrPort()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := a.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("set: %v", err)
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
}

// TestRestart checks that what is under way while a server restarts reaches
// the new one, and that what arrives in between reaches nobody.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		a, b := listen(t, n, alice, 0), listen(t, n, bob, 7666)
		send(t, a, b, "unread")
		n.SetFaults(udptest.Faults{MinDelay: time.Second, MaxDelay: time.Second})
		send(t, a, b, "in between")
		n.SetFaults(udptest.Faults{MinDelay: time.Minute, MaxDelay: time.Minute})
		send(t, a, b, "afterwards")
		if _, err := n.Listen(b.AddrPort()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening twice: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		b = listen(t, n, bob, 7666)
		if got := receive(t, b, time.Hour); !slices.Equal(got, []string{"afterwards"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAddresses(t *testing.T) {
	n := udptest.New(9)
	if _, err := n.Listen(netip.MustParseAddrPort("0.0.0.0:1")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listening at a wildcard: %v", err)
	}
	a, b, c := listen(t, n, alice, 0), listen(t, n, alice, 0), listen(t, n, carol, 0)
	if a.AddrPort() == b.AddrPort() || a.AddrPort().Port() < 1024 {
		t.Errorf("allocated %v and %v", a.AddrPort(), b.AddrPort())
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if again := listen(t, n, alice, 0); again.AddrPort() == a.AddrPort() {
		t.Error("a port was used again at once")
	}
	if _, err := b.WriteToUDPAddrPort(nil, c.AddrPort()); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Errorf("IPv4 to IPv6: %v", err)
	}
	if _, err := b.WriteToUDPAddrPort(make([]byte, 1<<16), b.AddrPort()); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("64 KiB: %v", err)
	}
}

// TestOutsideBubble uses real time, and several readers of one socket.
func TestOutsideBubble(t *testing.T) {
	n := udptest.New(10)
	n.SetFaults(udptest.Faults{MaxDelay: 2 * time.Millisecond})
	a, b := listen(t, n, alice, 0), listen(t, n, bob, 0)
	const readers, each = 4, 50
	got := make(chan string)
	for range readers {
		go func() {
			var buf [10]byte
			for {
				l, _, err := b.ReadFromUDPAddrPort(buf[:])
				if err != nil {
					got <- ""
					return
				}
				got <- string(buf[:l])
			}
		}()
	}
	seen := map[string]bool{}
	for _, s := range numbers(readers * each) {
		send(t, a, b, s)
	}
	for range readers * each {
		seen[<-got] = true
	}
	if len(seen) != readers*each {
		t.Errorf("%d different datagrams", len(seen))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range readers {
		if s := <-got; s != "" {
			t.Errorf("got %q after the close", s)
		}
	}
}
