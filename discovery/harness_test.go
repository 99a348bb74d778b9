package discovery

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/storage"
	"foyer/storage/storetest"
	"foyer/wire"
)

var registryAddr = netip.MustParseAddrPort("192.0.2.1:7666")

// A bench is a server on a model store and a network in memory without faults,
// all within a synctest bubble.
type bench struct {
	t      *testing.T
	net    *udptest.Network
	store  *storetest.Model
	stall  *stallingStore
	server *Server
	skew   atomic.Int64 // of the system's clock
	log    *slog.Logger // of servers that are started from now on
	any    bool         // Options.AnyAddress of the next start,
	names  int          // and Options.MaxNamesPerHost
	stop   func()
	ids    uint64
	hosts  map[string]*udptest.Conn
}

// run calls fn with a fresh bench in a bubble.
func run(t *testing.T, fn func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, net: udptest.New(1), store: storetest.NewModel(storetest.Sabotage{}), hosts: map[string]*udptest.Conn{}}
		b.start()
		defer func() { b.stop() }()
		fn(b)
	})
}

func (b *bench) start() {
	b.t.Helper()
	b.stall = new(stallingStore{Store: b.store})
	b.serveOn(b.stall)
}

// serveOn starts a server on a store that stands before b.store.
func (b *bench) serveOn(store storage.Store) {
	b.t.Helper()
	c, err := b.net.Listen(registryAddr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.server = New(store, Options{
		Log: b.log, SystemClock: func() time.Time { return time.Now().Add(time.Duration(b.skew.Load())) }, AnyAddress: b.any, MaxNamesPerHost: b.names,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- b.server.Serve(ctx, udp.Single(c)) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
		c.Close()
	}
}

// restart stops the server and starts another one on the same store.
func (b *bench) restart() {
	b.stop()
	b.store = b.store.Reopen()
	b.start()
}

// send sends a datagram from host and returns the datagrams that come back
// within the next 20 milliseconds.
func (b *bench) send(host, datagram string) (replies []string) {
	b.t.Helper()
	c := b.conn(host)
	if _, err := c.WriteToUDPAddrPort([]byte(datagram), registryAddr); err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	buf := make([]byte, 4096)
	for {
		n, _, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return replies
		} else if err != nil {
			b.t.Fatal(err)
		}
		replies = append(replies, string(buf[:n]))
	}
}

// conn returns the socket of a host.
func (b *bench) conn(host string) *udptest.Conn {
	b.t.Helper()
	c := b.hosts[host]
	if c == nil {
		var err error
		if c, err = b.net.Listen(netip.AddrPortFrom(netip.MustParseAddr(host), 40000)); err != nil {
			b.t.Fatal(err)
		}
		b.hosts[host] = c
	}
	return c
}

// await sends a datagram from host and returns the first that comes back, and
// how long that took: a minute at most.
func (b *bench) await(host, datagram string) (reply string, took time.Duration) {
	b.t.Helper()
	c := b.conn(host)
	sent := time.Now()
	if _, err := c.WriteToUDPAddrPort([]byte(datagram), registryAddr); err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetReadDeadline(sent.Add(time.Minute))
	buf := make([]byte, 4096)
	n, _, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		b.t.Fatalf("%q: %v", datagram, err)
	}
	return string(buf[:n]), time.Since(sent)
}

// ask sends a datagram from 192.0.2.10 and returns the one that comes back.
func (b *bench) ask(datagram string) string {
	b.t.Helper()
	return b.askFrom("192.0.2.10", datagram)
}

func (b *bench) askFrom(host, datagram string) string {
	b.t.Helper()
	replies := b.send(host, datagram)
	if len(replies) != 1 {
		b.t.Fatalf("%q got %d replies, want one: %q", datagram, len(replies), replies)
	}
	return replies[0]
}

// expect asks and compares.
func (b *bench) expect(datagram, want string) {
	b.t.Helper()
	if got := b.ask(datagram); got != want {
		b.t.Errorf("%q got %q, want %q", datagram, got, want)
	}
}

// expectCode asks and compares the code, or "OK".
func (b *bench) expectCode(datagram string, want foyer.Code) {
	b.t.Helper()
	if got := codeOf(b.t, b.ask(datagram)); got != want {
		b.t.Errorf("%q got %q, want %q", datagram, got, want)
	}
}

func codeOf(t *testing.T, reply string) foyer.Code {
	t.Helper()
	r, err := wire.ParseReply([]byte(reply))
	if err != nil {
		t.Fatalf("%q: %v", reply, err)
	}
	if r.OK {
		return "OK"
	}
	return foyer.Code(r.Code)
}

// id returns a fresh version 7 id whose time is off by the given time.
func (b *bench) id(off time.Duration) string {
	b.ids++
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], uint64(time.Now().Add(off).UnixMilli())<<16)
	binary.BigEndian.PutUint64(u[8:], b.ids)
	u[6], u[8] = 0x70|u[6]&15, 0x80|u[8]&0x3f
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func privateKey(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

func publicKey(n byte) string {
	return foyer.Key(privateKey(n).Public().(ed25519.PublicKey)).String()
}

// signed returns a line with a fresh id, further tags and a signature by key n.
func (b *bench) signed(n byte, tags, plain string) string {
	return string(wire.Sign([]byte("@id="+b.id(0)+tags+" "+plain), privateKey(n)))
}

func (b *bench) registerSigned(n byte, address, name string) string {
	return b.signed(n, ";ttl=30;key="+publicKey(n), "REGISTER "+address+" "+name)
}

func kinds(b *bench, name foyer.Name) string {
	events, err := b.store.History(name)
	if err != nil {
		b.t.Fatal(err)
	}
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Kind.String())
	}
	return strings.Join(kinds, " ")
}

// A stallingStore is as a disk that does not answer for a time; to the service
// a paused process or a suspended machine looks the same.
type stallingStore struct {
	storage.Store
	next atomic.Int64 // how long the next Update takes, in nanoseconds
}

func (s *stallingStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	time.Sleep(time.Duration(s.next.Swap(0)))
	return s.Store.Update(now, fn)
}
