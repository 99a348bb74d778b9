package client

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"foyer/room"
)

// TestDNS checks that a name which cannot be found is an answer that did not
// come, and that an older one serves meanwhile.
func TestDNS(t *testing.T) {
	c := newOffline(t)
	c.registries = []registry{{spec: "registry.invalid:7666", host: "registry.invalid", port: 7666}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no network is asked
	if _, err := c.peers(ctx); err == nil || !strings.HasPrefix(err.Error(), "registry registry.invalid:7666 did not answer: ") {
		t.Errorf("got %v", err)
	}
	known := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:7666")}
	c.addresses["registry.invalid:7666"] = resolution{addrs: known}
	if got, err := c.peers(ctx); err != nil || len(got) != 1 || got[0] != known[0] {
		t.Errorf("got %v, %v", got, err)
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
	for err, want := range map[*NoAnswerError]string{
		{Peer: "registry a:1"}:                           "registry a:1 did not answer within 5 seconds",
		{Peer: "registry a:1", Err: context.Canceled}:    "registry a:1 did not answer: context canceled",
		{Peer: "registry a:1", Err: os.ErrPermission}:    "registry a:1 did not answer: permission denied",
		{Peer: "registry a:1", Err: room.ErrBusy}:        "registry a:1 could not serve the request: the registry is busy",
		{Peer: "room b:2", Err: fmt.Errorf("no %d", 1)}:  "room b:2 did not answer: no 1",
		{Peer: "registry a:1", Err: room.ErrUnavailable}: "registry a:1 could not serve the request: the registry cannot write now",
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
