package udp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"foyer/internal/udp"
)

// serve echoes what arrives on c until it is closed, each datagram from the
// address that it was sent to.
func serve(t *testing.T, c udp.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		ds := make([]udp.Datagram, udp.BatchSize)
		for i := range ds {
			ds[i].Data = make([]byte, 1500)
		}
		for {
			n, err := udp.Receive(c, ds)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			if err := c.Send(ds[:n]); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

func listen(t *testing.T, address string) udp.Conn {
	t.Helper()
	c, err := udp.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends n datagrams to addr over a connected socket, which takes
// replies from that very address only, and waits for all of them.
func exchange(t *testing.T, addr string, n int) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var want, got []string
	buf := make([]byte, 2048)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	for i := range n {
		text := fmt.Sprintf("datagram %d %s", i, bytes.Repeat([]byte{'x'}, i%700))
		want = append(want, text)
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if i%32 == 31 || i == n-1 { // keep within the socket's buffer
			for len(got) < len(want) {
				k, err := c.Read(buf)
				if err != nil {
					t.Fatalf("%s: after %d of %d replies: %v", addr, len(got), len(want), err)
				}
				got = append(got, string(buf[:k]))
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: the replies differ from what was sent", addr)
	}
}

func TestEcho(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		c := listen(t, address)
		serve(t, c)
		exchange(t, c.LocalAddr().String(), 1000)
	}
}

// A server bound to a wildcard address answers from the address that it was
// asked at, for either family.
func TestWildcard(t *testing.T) {
	targets := []string{"127.0.0.1", "::1"}
	if runtime.GOOS == "linux" {
		targets = append(targets, "127.0.0.2", "127.1.2.3") // all of 127/8 is local
	}
	c := listen(t, ":0")
	serve(t, c)
	for _, host := range targets {
		exchange(t, net.JoinHostPort(host, fmt.Sprint(c.LocalAddr().Port())), 100)
	}
	c4 := listen(t, "0.0.0.0:0")
	serve(t, c4)
	for _, host := range targets {
		if netip.MustParseAddr(host).Is4() {
			exchange(t, net.JoinHostPort(host, fmt.Sprint(c4.LocalAddr().Port())), 100)
		}
	}
}

func TestReceive(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	defer c.Close()
	peer, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	for _, text := range []string{"", "longer than ten bytes"} {
		if _, err := peer.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for len(got) < 2 {
		ds := []udp.Datagram{{Data: make([]byte, 10)}, {Data: make([]byte, 10)}}
		n, err := udp.Receive(c, ds)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds[:n] {
			if d.Peer != peer.LocalAddr().(*net.UDPAddr).AddrPort() || d.Local.IsValid() {
				t.Errorf("from %v to %v", d.Peer, d.Local)
			}
			got = append(got, string(d.Data))
		}
	}
	if got[0] != "" || got[1] != "longer tha" {
		t.Errorf("got %q", got)
	}

	// Replies to a closed port do no harm, nor do datagrams that cannot be sent.
	gone, _ := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	dead := gone.LocalAddr().(*net.UDPAddr).AddrPort()
	gone.Close()
	good := udp.Datagram{Data: []byte("good"), Peer: peer.LocalAddr().(*net.UDPAddr).AddrPort()}
	if err := c.Send([]udp.Datagram{
		{Data: []byte("x"), Peer: dead}, {Data: make([]byte, 70000), Peer: dead}, good,
	}); err == nil {
		t.Error("a datagram of 70,000 bytes was sent")
	}
	buf := make([]byte, 16)
	_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := peer.Read(buf); err != nil || string(buf[:n]) != "good" {
		t.Errorf("the datagram behind a bad one: %q, %v", buf[:n], err)
	}

	_ = c.SetReadDeadline(time.Unix(1, 0))
	ds := []udp.Datagram{{Data: make([]byte, 10)}}
	if _, err := udp.Receive(c, ds); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	c.Close()
	if _, err := udp.Receive(c, ds); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	defer c.Close()
	ds := make([]udp.Datagram, 4)
	for i := range ds {
		ds[i] = udp.Datagram{Data: make([]byte, 64), Peer: c.LocalAddr()}
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := c.Send(ds); err != nil {
			t.Fatal(err)
		}
		for left := len(ds); left > 0; {
			k, err := udp.Receive(c, ds[:left])
			if err != nil {
				t.Fatal(err)
			}
			left -= k
		}
	}); n != 0 && runtime.GOOS == "linux" {
		t.Errorf("a batch allocates %v times", n)
	}
}

// Datagrams that are sent in one batch arrive as they are, in order, whether or
// not they can be joined on the way.
func TestRuns(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		c, peer, other := listen(t, address), listen(t, address), listen(t, address)
		defer c.Close()
		defer peer.Close()
		defer other.Close()
		lengths := []int{20, 20, 20, 5, 20, 20, 30, 30, 0, 0, 30, 1200, 1200, 1200, 1, 1, 1}
		var ds []udp.Datagram
		for i := range 3 * udp.BatchSize {
			d := udp.Datagram{Data: bytes.Repeat([]byte{byte(i)}, lengths[i%len(lengths)]), Peer: peer.LocalAddr()}
			if i%23 == 7 {
				d.Peer = other.LocalAddr()
			}
			ds = append(ds, d)
		}
		if err := c.Send(ds); err != nil {
			t.Fatal(err)
		}
		for _, to := range []udp.Conn{peer, other} {
			_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
			buf := []udp.Datagram{{Data: make([]byte, 2000)}}
			for i := range ds {
				if ds[i].Peer != to.LocalAddr() {
					continue
				}
				if _, err := udp.Receive(to, buf); err != nil {
					t.Fatalf("datagram %d: %v", i, err)
				}
				if !bytes.Equal(buf[0].Data, ds[i].Data) {
					t.Fatalf("datagram %d arrived as %d bytes of %v, want %d", i, len(buf[0].Data), buf[0].Data[:min(1, len(buf[0].Data))], len(ds[i].Data))
				}
			}
		}
	}
}

// The sockets of a server share its port, every datagram is answered once, and
// a second server on the port is refused.
func TestListenServer(t *testing.T) {
	for _, cores := range []int{1, 2, 8} {
		conns, err := udp.ListenServer("127.0.0.1:0", cores)
		if err != nil {
			t.Fatal(err)
		}
		if want := cores / 2; runtime.GOOS == "linux" && len(conns) != max(1, want) {
			t.Errorf("%d sockets for %d cores", len(conns), cores)
		}
		for _, c := range conns {
			serve(t, c)
		}
		for range 16 { // ports differ, and with them the socket
			exchange(t, conns[0].LocalAddr().String(), 64)
		}
		for _, n := range []int{1, 8} {
			if more, err := udp.ListenServer(conns[0].LocalAddr().String(), n); err == nil {
				t.Errorf("a second server got %d sockets on the port", len(more))
			}
		}
	}
}

// TestPoll takes what has arrived, without waiting.
func TestPoll(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // Poll has nothing to tell elsewhere
	}
	c := listen(t, "127.0.0.1:0")
	out, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ds := make([]udp.Datagram, udp.BatchSize)
	for i := range ds {
		ds[i].Data = make([]byte, 100)
	}
	if n, err := c.Poll(ds); n != 0 || err != nil {
		t.Errorf("with nothing there: %d datagrams, %v", n, err)
	}
	for i := range 3 {
		fmt.Fprint(out, "datagram ", i)
	}
	n, err := c.Poll(ds) // the loopback device delivers before it returns
	if n != 3 || err != nil {
		t.Fatalf("%d datagrams, %v", n, err)
	}
	for i, d := range ds[:n] {
		if string(d.Data) != fmt.Sprint("datagram ", i) || d.Peer.String() != out.LocalAddr().String() {
			t.Errorf("datagram %d: %q from %v", i, d.Data, d.Peer)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n, err := c.Poll(ds); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %d datagrams, %v", n, err)
	}
}

// conns calls fn with a Conn of each kind.
func conns(t *testing.T, fn func(t *testing.T, c udp.Conn)) {
	t.Run("batches", func(t *testing.T) { fn(t, listen(t, "127.0.0.1:0")) })
	t.Run("single", func(t *testing.T) {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		fn(t, udp.Single(c))
	})
}

// Wait returns for what has arrived before as well, as often as it is called, until
// somebody has taken it.
func TestWait(t *testing.T) {
	conns(t, func(t *testing.T, c udp.Conn) {
		defer c.Close()
		out, err := net.Dial("udp", c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		fmt.Fprint(out, "longer than ten bytes")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		for range 3 {
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		ds := []udp.Datagram{{Data: make([]byte, 10)}}
		if n, err := c.Poll(ds); n != 1 || err != nil || string(ds[0].Data) != "longer tha" || ds[0].Peer.String() != out.LocalAddr().String() {
			t.Errorf("%d datagrams, %v, %q from %v", n, err, ds[0].Data, ds[0].Peer)
		}
		if n, err := c.Poll(ds); n != 0 || err != nil {
			t.Errorf("a second time: %d datagrams, %v", n, err)
		}
		_ = c.SetReadDeadline(time.Unix(1, 0))
		if err := c.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
	})
}

// One goroutine waits, and others do not: each datagram comes to one of them, in
// order.
func TestTurns(t *testing.T) {
	conns(t, func(t *testing.T, c udp.Conn) {
		out, err := net.Dial("udp", c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		const sent = 2000
		got := make(chan string, sent)
		var readers sync.WaitGroup
		var mu sync.Mutex
		ds := make([]udp.Datagram, udp.BatchSize)
		for i := range ds {
			ds[i].Data = make([]byte, 100)
		}
		take := func() {
			mu.Lock()
			defer mu.Unlock()
			n, _ := c.Poll(ds)
			for _, d := range ds[:n] {
				got <- string(d.Data)
			}
		}
		closed := make(chan struct{})
		readers.Go(func() {
			for c.Wait() == nil {
				take()
			}
			close(closed)
		})
		for range 2 {
			readers.Go(func() {
				for {
					select {
					case <-closed:
						return
					default:
						take()
						runtime.Gosched()
					}
				}
			})
		}
		for i := 0; i < sent; {
			first := i
			for ; i < first+100; i++ { // as many as the socket's buffer surely holds
				fmt.Fprint(out, i)
			}
			for j := first; j < i; j++ {
				if text := <-got; text != fmt.Sprint(j) {
					t.Fatalf("%q came where %d was to come", text, j)
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	})
}
