package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/wire"

	"github.com/google/uuid"
)

// resolveWith has dial connect to DNS servers until the test ends.
func resolveWith(t *testing.T, dial func(ctx context.Context) (net.Conn, error)) {
	system := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = system })
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
}

// TestDNS checks that an unresolvable registry counts as silent, and that an
// older resolution serves meanwhile.
func TestDNS(t *testing.T) {
	resolveWith(t, func(context.Context) (net.Conn, error) { return nil, os.ErrPermission })
	c := newOffline(t)
	c.registries = []registry{{spec: "registry.invalid:7666"}}
	var silence *NoAnswerError
	if _, err := c.peers(t.Context()); !errors.As(err, &silence) || silence.Timeout() || !strings.HasPrefix(err.Error(), "registry registry.invalid:7666 did not answer: lookup registry.invalid") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.peers(ctx); !errors.As(err, &silence) || silence.Err != context.Canceled {
		t.Errorf("canceled: got %v", err)
	}
	known := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:7666")}
	c.addresses["registry.invalid:7666"] = resolution{addrs: known}
	if got, err := c.peers(ctx); err != nil || len(got) != 1 || got[0] != known[0] {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestCloseDuringDNS: neither Close nor a look-up waits for a resolver.
func TestCloseDuringDNS(t *testing.T) {
	// Package net creates a channel at its first look-up, which must not belong
	// to a bubble.
	resolveWith(t, func(context.Context) (net.Conn, error) { return nil, os.ErrPermission })
	net.DefaultResolver.LookupNetIP(t.Context(), "ip", "registry.invalid")
	for _, size := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			asked := make(chan struct{}, 100)
			resolveWith(t, func(ctx context.Context) (net.Conn, error) {
				asked <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			})
			c := newOffline(t)
			c.registries = []registry{{spec: "registry.invalid:7666"}}
			if size > 0 {
				c.cache = newCache(c, size, time.Hour)
			}
			ended := make(chan error)
			go func() {
				_, err := c.Lookup(t.Context(), "Foyer")
				ended <- err
			}()
			<-asked
			start := time.Now()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrNoAnswer) {
				t.Errorf("a cache of %d: the look-up ended with %v", size, err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("a cache of %d: took %v", size, took)
			}
		})
	}
}

func TestDialectsAreBounded(t *testing.T) {
	d := dialects{}
	for i := range 10 * maxDialects {
		d.asked(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(i)))
	}
	if len(d) != maxDialects {
		t.Errorf("%d entries", len(d))
	}
	stranger := netip.MustParseAddrPort("198.51.100.3:1")
	if d.answeredPlain(stranger, time.Now()) || len(d) != maxDialects {
		t.Error("took notice of a stranger")
	}
}

func TestNoAnswerError(t *testing.T) {
	for _, c := range []struct {
		peer      string
		err       error
		want      string
		timeout   bool
		temporary bool
	}{
		{"registry a:1", nil, "registry a:1 did not answer within 5 seconds", true, true},
		{"registry a:1", context.Canceled, "stopped waiting for registry a:1: context canceled", false, false},
		{"registry a:1", context.DeadlineExceeded, "registry a:1 did not answer: context deadline exceeded", true, true},
		{"registry a:1", &net.DNSError{Err: "i/o timeout", Name: "a", IsTimeout: true}, "registry a:1 did not answer: lookup a: i/o timeout", true, true},
		{"registry a:1", &net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}, "registry a:1 did not answer: lookup a: no such host", false, true},
		{"registry a:1", os.ErrPermission, "registry a:1 did not answer: permission denied", false, true},
		{"registry a:1", foyer.ErrBusy, "registry a:1 could not serve the request: the registry is busy", false, true},
		{"room b:2", fmt.Errorf("no %d", 1), "room b:2 did not answer: no 1", false, true},
		{"registry a:1", foyer.ErrUnavailable, "registry a:1 could not serve the request: the registry cannot write now", false, true},
	} {
		err := fmt.Errorf("wrapped: %w", &NoAnswerError{Peer: c.peer, Err: c.err})
		var neterr net.Error
		if !errors.As(err, &neterr) {
			t.Fatalf("%v is no net.Error", err)
		}
		temporary := neterr.(interface{ Temporary() bool }).Temporary()
		if neterr.Error() != c.want || neterr.Timeout() != c.timeout || temporary != c.temporary {
			t.Errorf("got %q, time-out %t, temporary %t, want %+v", neterr, neterr.Timeout(), temporary, c)
		}
		if !errors.Is(err, ErrNoAnswer) || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%v is not what it is", err)
		}
	}
}

// The longest of all in one request is not too long for a datagram.
func TestLongestRegister(t *testing.T) {
	long := foyer.Name(strings.Repeat("x", foyer.MaxName))
	exits, _ := foyer.NewExits(map[foyer.Direction]foyer.Name{foyer.North: long, foyer.Up: long[:190]})
	address, err := foyer.ParseAddress("room://" + strings.Repeat("h", foyer.MaxAddress-len("room://:65535")) + ":65535")
	if err != nil || len(exits.Encode()) != foyer.MaxExits {
		t.Fatal(len(exits.Encode()), err)
	}
	q, err := newQuestion(wire.Register, Registration{
		Name: long, Address: address, TTL: 24 * time.Hour, Exits: exits, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
	})
	if err != nil {
		t.Fatal(err)
	}
	line := q.tagged(uuid.Must(uuid.NewV7()))
	if r, err := wire.ParseRequest(line); err != nil || string(r.Exits) != string(exits.Encode()) || len(line) > wire.MaxDatagram {
		t.Errorf("%d bytes, %v", len(line), err)
	}
}
