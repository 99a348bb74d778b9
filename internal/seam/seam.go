// Package seam lets the tests of this module put a network and a source of chance
// of their own under a client or a player. Programs have no use for that, so the options that
// they see have no place for it.
package seam

import (
	"math/rand/v2"

	"foyer/internal/udp"
)

// A Seam is what a test replaces. What is nil stays the system's.
type Seam struct {
	// Listen opens a socket on any free port.
	Listen func() (udp.PacketConn, error)

	// Rand is what jitter and ids are drawn from. For a run to be repeatable
	// nothing else may use it.
	Rand *rand.ChaCha8
}

// Client puts s under the Client that is made with options, a *client.Options, and
// Player under the sessions that are, with a *player.Options. The packages set
// them: this one cannot import what imports it.
var Client, Player func(options any, s Seam)
