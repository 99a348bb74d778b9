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
	// ErrNoAnswer is what every [*NoAnswerError] is to [errors.Is].
	ErrNoAnswer = errors.New("no answer")

	// ErrNoRegistry means that the Client was given no registries to ask.
	ErrNoRegistry = errors.New("no registry to ask")
)

var errClosed = fmt.Errorf("the client is closed: %w", net.ErrClosed)

// A NoAnswerError means that a peer was asked and nothing was heard from it, or
// nothing but that it could not serve the request now. Whether the request was
// carried out is not known.
type NoAnswerError struct {
	// Peer is who was asked, for people: "registry 127.0.0.1:7666", "room
	// 192.0.2.7:40001".
	Peer string

	// Err is why it was given up: nil after [Timeout], else the context's
	// error, that of the DNS, the error of the last attempt to send, or, a
	// [*foyer.Error], the last refusal of code busy or unavailable.
	Err error
}

func (e *NoAnswerError) Error() string {
	if refusal, ok := errors.AsType[*foyer.Error](e.Err); ok {
		return fmt.Sprintf("%s could not serve the request: %v", e.Peer, refusal)
	}
	switch {
	case e.Err == nil:
		return fmt.Sprintf("%s did not answer within %d seconds", e.Peer, int(Timeout.Seconds()))
	case e.canceled(): // which is not the peer's fault
		return fmt.Sprintf("stopped waiting for %s: %v", e.Peer, e.Err)
	}
	return fmt.Sprintf("%s did not answer: %v", e.Peer, e.Err)
}

// Unwrap returns Err.
func (e *NoAnswerError) Unwrap() error { return e.Err }

// Is reports whether target is [ErrNoAnswer].
func (e *NoAnswerError) Is(target error) bool { return target == ErrNoAnswer }

// Timeout reports whether time ran out: [Timeout], the deadline of the
// context, or that of the DNS. It is false after the context was canceled, and
// where something else kept the peer from answering: see Err.
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

// Temporary reports whether the same request may get an answer later, which
// holds unless the context was canceled. With it the error is a [net.Error];
// that method is deprecated there, but what retries still asks for it.
func (e *NoAnswerError) Temporary() bool { return !e.canceled() }

func (e *NoAnswerError) canceled() bool { return errors.Is(e.Err, context.Canceled) }

var _ net.Error = (*NoAnswerError)(nil)
