package player

import (
	"context"
	"errors"
	"fmt"
	"net"

	"foyer/client"
)

// Errors to compare with.
var (
	// ErrDisconnected means that the room has ended the session, as it does
	// when it shuts down.
	ErrDisconnected = errors.New("the room has closed")

	// ErrLeft means that the player has left the room.
	ErrLeft = errors.New("the player has left the room")
)

var (
	errClosed = fmt.Errorf("the session is closed: %w", net.ErrClosed)

	// errOnlyPlain says that the room does not know tags.
	errOnlyPlain = errors.New("the room speaks only the plain dialect")

	// errTimeout is the cause of a context that ended because client.Timeout
	// was over.
	errTimeout = errors.New("timeout")
)

// limited returns ctx with the end that client.Timeout sets.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, client.Timeout, errTimeout)
}

// noAnswer returns the error for a request to peer that ctx has ended; err is
// what may explain it.
func noAnswer(ctx context.Context, peer string, err error) error {
	if context.Cause(ctx) != errTimeout {
		err = ctx.Err()
	}
	return &client.NoAnswerError{Peer: peer, Err: err}
}
