package command

import (
	"net/netip"
	"testing"

	"foyer/internal/dnssd"
)

// Names of worlds come from strangers.
func TestSeveralWorlds(t *testing.T) {
	at := netip.MustParseAddrPort
	err := severalWorlds([]dnssd.Registry{
		{World: "A\n\x1b[2J\u202e\xff", Address: at("10.66.0.1:7666")}, {World: "B", Address: at("10.66.0.2:7666")}, {World: "B", Address: at("[fd66::2]:7666")},
	})
	const want = `several worlds are announced on the local network, --discovery HOST:PORT chooses one: ` +
		`"A\n\x1b[2J\u202e\xff" at 10.66.0.1:7666, "B" at 10.66.0.2:7666`
	if err.Error() != want {
		t.Errorf("got %q", err)
	}
}
