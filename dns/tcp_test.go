package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
)

func framed(msgs ...[]byte) []byte {
	var all []byte
	for _, m := range msgs {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
	}
	return all
}

// receive reads a message off a connection.
func receive(t *testing.T, c net.Conn) []byte {
	t.Helper()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, msg); err != nil {
		t.Fatal(err)
	}
	return msg
}

// isClosed reports whether the server has closed a connection, without waiting.
func isClosed(c net.Conn) bool {
	synctest.Wait()
	_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := c.Read(make([]byte, 1))
	_ = c.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF)
}

func TestTCP(t *testing.T) {
	exits, _ := foyer.NewExits(map[foyer.Direction]foyer.Name{foyer.North: foyer.Name(strings.Repeat("n", 200)), foyer.Up: foyer.Name(strings.Repeat("u", 200))})
	run(t, Options{}, func(b *bench) {
		b.register("exits="+string(exits.Encode()), "room://192.0.2.7:4001", "study")
		long := question("study.rooms.example", dnsmessage.TypeTXT)
		if m := b.ask(long); !m.Truncated {
			t.Fatalf("over UDP the answer is %s", show(m))
		}
		c := b.pipes.dial("192.0.2.10:2000")
		defer c.Close()
		others := question("study.rooms.example", dnsmessage.TypeA)
		others[0] = 0x12
		all := framed(long, others, withEDNS(long, 512, 0, false), long[:20])
		go func() { // in pieces that end anywhere
			for len(all) > 0 {
				n := min(7, len(all))
				if _, err := c.Write(all[:n]); err != nil {
					t.Error(err)
					return
				}
				all = all[n:]
			}
		}()
		if m := parseReply(t, long, receive(t, c)); m.Truncated || !strings.Contains(show(m), "uuu") || !strings.Contains(show(m), "nnn") {
			t.Errorf("over TCP the answer is %s", show(m))
		}
		if got := show(parseReply(t, others, receive(t, c))); got != "Success aa | study.rooms.example. 5 A 192.0.2.7" {
			t.Errorf("the second answer is %s", got)
		}
		if m := parseReply(t, long, receive(t, c)); m.Truncated || !strings.Contains(show(m), "uuu") {
			t.Errorf("a size that is for UDP makes it %s", show(m))
		}
		if got := show(parseReply(t, long, receive(t, c))); got != "FormatError" {
			t.Errorf("half a query gets %s", got)
		}
		if got := b.server.Queries()["TXT"]["NOERROR"]; got != 3 {
			t.Errorf("%d queries are counted", got)
		}
		for what, msg := range map[string][]byte{"a response": {0xab, 0xcd, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "less than a header": {1, 2, 3}, "nothing": {}, "a query of 4097 bytes": make([]byte, maxTCPQuery+1)} {
			c := b.pipes.dial("192.0.2.10:2001")
			go func() { _, _ = c.Write(framed(msg)) }()
			if !isClosed(c) {
				t.Errorf("%s leaves the connection open", what)
			}
			c.Close()
		}
	})
}

// A connection has so long for a query, however it dribbles in.
func TestTCPIdle(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		query := framed(question("study.rooms.example", dnsmessage.TypeA))
		idle, slow, busy, deaf := b.pipes.dial("192.0.2.10:2000"), b.pipes.dial("192.0.2.10:2001"), b.pipes.dial("192.0.2.10:2002"), b.pipes.dial("192.0.2.10:2003")
		defer func() {
			for _, c := range []net.Conn{idle, slow, busy, deaf} {
				c.Close()
			}
		}()
		if _, err := deaf.Write(query); err != nil { // it reads no answer
			t.Fatal(err)
		}
		began := time.Now()
		for i := range 9 {
			time.Sleep(time.Second)
			if _, err := slow.Write(query[i : i+1]); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			if _, err := busy.Write(query); err != nil {
				t.Fatal(err)
			}
			receive(t, busy)
			if isClosed(idle) {
				t.Fatalf("an idle connection is closed after %v", time.Since(began))
			}
			if got, want := isDeaf(b, "192.0.2.10:2003"), time.Since(began) > writeTime; got != want {
				t.Errorf("after %v a connection whose answer is not read is closed: %v", time.Since(began), got)
			}
		}
		time.Sleep(time.Second + time.Millisecond)
		for name, c := range map[string]net.Conn{"idle": idle, "slow": slow} {
			if !isClosed(c) {
				t.Errorf("the %s connection is open after %v", name, time.Since(began))
			}
		}
		if isClosed(busy) {
			t.Error("the connection that was used is closed")
		}
	})
}

// isDeaf reports whether the server has let the connection from an address go: what
// is at its other end cannot be asked without reading.
func isDeaf(b *bench, peer string) bool {
	synctest.Wait()
	b.server.conns.mu.Lock()
	defer b.server.conns.mu.Unlock()
	for c := range b.server.conns.open {
		if c.RemoteAddr().String() == peer {
			return false
		}
	}
	return true
}

func TestTCPBounds(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		var open []net.Conn
		defer func() {
			for _, c := range open {
				c.Close()
			}
		}()
		dial := func(host string) net.Conn {
			c := b.pipes.dial(host)
			open = append(open, c)
			return c
		}
		for i := range maxConns {
			// 64 bits of an IPv6 address are one host.
			if c := dial(fmt.Sprintf("[2001:db8:0:%d::%x]:2000", i/maxConnsPerHost, i)); isClosed(c) {
				t.Fatalf("connection %d is closed", i)
			}
			if i == maxConnsPerHost-1 {
				if !isClosed(dial("[2001:db8:0:0::ffff]:2000")) {
					t.Error("a host may have one more")
				}
			}
		}
		if !isClosed(dial("192.0.2.77:2000")) {
			t.Error("there may be one more in all")
		}
		query := question("study.rooms.example", dnsmessage.TypeA)
		if got := show(b.ask(query)); got != "NameError aa"+negative {
			t.Errorf("over UDP meanwhile: %s", got)
		}
		// One that goes makes room for one.
		open[maxConnsPerHost+1].Close()
		synctest.Wait()
		c := dial("192.0.2.77:2001")
		if isClosed(c) || !isClosed(dial("192.0.2.78:2000")) {
			t.Error("there is not room for one")
		}
		// That came when it was crowded, and has less time.
		time.Sleep(crowdedTime + time.Millisecond)
		if !isClosed(c) {
			t.Error("an idle connection is open though others want it")
		}
		time.Sleep(idleTime)
		synctest.Wait()
		if n := len(b.server.conns.open) + len(b.server.conns.hosts); n != 0 {
			t.Errorf("%d connections and hosts are left", n)
		}
	})
}

// The end closes connections, whatever they are at.
func TestTCPEnd(t *testing.T) {
	run(t, Options{}, func(b *bench) {
		idle, deaf := b.pipes.dial("192.0.2.10:2000"), b.pipes.dial("192.0.2.10:2001")
		if _, err := deaf.Write(framed(question("study.rooms.example", dnsmessage.TypeA))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("the end took %v", took)
		}
		if !isClosed(idle) || !isClosed(deaf) {
			t.Error("a connection is left open")
		}
	})
}
