package client_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"foyer"
	"foyer/client"
	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/storage/bolt"
)

// A realRegistry is a registry with a database and a socket of the system.
type realRegistry struct {
	address string
	stop    func()
}

// startRegistry starts a registry at address, a port of loopback, which ends with
// the test or by stop.
func startRegistry(t *testing.T, address string) *realRegistry {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "rooms.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := udp.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- discovery.New(store, discovery.Options{}).Serve(ctx, conn) }()
	r := &realRegistry{address: conn.LocalAddr().String(), stop: sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-served, conn.Close(), store.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})}
	t.Cleanup(r.stop)
	return r
}

// silentSocket is a port of loopback where nobody answers.
func silentSocket(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestRealRegistries: real ones, each with a world of its own, one after the
// other.
func TestRealRegistries(t *testing.T) {
	first := silentSocket(t)
	address := first.LocalAddr().String()
	second := startRegistry(t, "127.0.0.1:0")
	c, err := client.New(client.Options{Registries: []string{address, second.address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	// The first one is silent.
	start := time.Now()
	l, err := c.Claim(t.Context(), client.Registration{Name: "Foyer", Address: "room://127.0.0.1:40001", TTL: 5 * time.Second, Key: testKey(1)})
	if err != nil || time.Since(start) >= client.Timeout {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
	if n, _, err := first.ReadFromUDPAddrPort(make([]byte, 2000)); n == 0 || err != nil {
		t.Errorf("the first one was not asked: %v", err)
	}
	if _, err := c.Lookup(t.Context(), "Foyer"); err != nil {
		t.Error(err)
	}

	// The first one comes up, and then the second one dies: the lease goes on.
	first.Close()
	startRegistry(t, address)
	second.stop()
	for e := range l.Events() {
		if e.Kind == client.RegisteredAnew {
			break
		}
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Lookup(t.Context(), "Foyer"); err != nil || a.Address != "room://127.0.0.1:40001" {
		t.Errorf("got %v, %v", a, err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, foyer.ErrUnknownName) {
		t.Error(err)
	}
}

// TestRealSilence: nobody answers, and nobody listens, which is the same.
func TestRealSilence(t *testing.T) {
	silent, nobody := silentSocket(t), silentSocket(t)
	nobody.Close()
	c, err := client.New(client.Options{Registries: []string{silent.LocalAddr().String(), nobody.LocalAddr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	_, err = c.Lookup(t.Context(), "Foyer")
	if took := time.Since(start); took < client.Timeout || !errors.Is(err, client.ErrNoAnswer) ||
		err.Error() != "registries "+silent.LocalAddr().String()+", "+nobody.LocalAddr().String()+" did not answer within 5 seconds" {
		t.Errorf("after %v: %v", took, err)
	}
}
