// Package seam lets this module's tests give a client or a player a network and
// a source of randomness of their own. Programs have no use for that, so it is
// not part of the public options.
package seam

import (
	"context"
	"math/rand/v2"
	"net/netip"

	"foyer/internal/udp"
)

// A Seam is what a test replaces; nil fields stay the system's.
type Seam struct {
	// Listen opens a socket on any free port.
	Listen func() (udp.PacketConn, error)

	// Resolve returns the addresses of a host that is given by name.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// Rand is what jitter and ids are drawn from. Runs repeat only if nothing
	// else uses it.
	Rand *rand.ChaCha8
}

// Client sets s in options, a *client.Options, and Player in a *player.Options.
// Those packages set the two variables, as this one cannot import what imports
// it.
var Client, Player func(options any, s Seam)
