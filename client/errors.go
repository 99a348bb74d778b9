package client

import (
	"context"
	"errors"
	"fmt"
	"net"

	"foyer"
)

// Errors to compare with.
var (
	// ErrNoAnswer matches every [*NoAnswerError] in [errors.Is].
	ErrNoAnswer = errors.New("no answer")

	// ErrNoRegistry means that the Client was given no registries to ask.
	ErrNoRegistry = errors.New("no registry to ask")
)

var errClosed = fmt.Errorf("the client is closed: %w", net.ErrClosed)

// A NoAnswerError means that a peer did not answer, or only that it could not
// serve the request now. Whether the request was carried out is not known.
type NoAnswerError struct {
	// Peer is who was asked, for people: "registry 127.0.0.1:7666", "room
	// 192.0.2.7:40001".
	Peer string

	// Err is why the request was given up: nil after [Timeout], or else the
	// error of the context, of the DNS or of the last attempt to send, or the
	// last refusal with code busy or unavailable, a [*foyer.Error].
	Err error
}

func (e *NoAnswerError) Error() string {
	if refusal, ok := errors.AsType[*foyer.Error](e.Err); ok {
		return fmt.Sprintf("%s could not serve the request: %v", e.Peer, refusal)
	}
	switch {
	case e.Err == nil:
		return fmt.Sprintf("%s did not answer within %d seconds", e.Peer, int(Timeout.Seconds()))
	case e.canceled(): // not the peer's fault
		return fmt.Sprintf("stopped waiting for %s: %v", e.Peer, e.Err)
	}
	return fmt.Sprintf("%s did not answer: %v", e.Peer, e.Err)
}

// Unwrap returns Err.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrNoAnswer].
func (e *NoAnswerError) Is(target error) bool { return target == ErrNoAnswer }

// Timeout reports whether time ran out: [Timeout], the deadline of the context,
// or that of the DNS. It is false if the context was canceled, or for the other
// reasons that Err may give.
func (e *NoAnswerError) Timeout() bool {
	if e.Err == nil {
		return true
	}
	late, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && late.Timeout()
}

// Temporary reports whether the same request may get an answer later, which it
// may unless the context was canceled. It makes the error a [net.Error], where
// the method is deprecated, but code that retries still calls it.
func (e *NoAnswerError) Temporary() bool { return !e.canceled() }

func (e *NoAnswerError) canceled() bool { return errors.Is(e.Err, context.Canceled) }

var _ net.Error = (*NoAnswerError)(nil)
