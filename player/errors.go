package player

import (
	"errors"
	"fmt"
	"net"

	"foyer"
)

// Errors to compare with.
var (
	// ErrDisconnected means that the room has ended the session, as it does
	// when it closes.
	ErrDisconnected = errors.New("the room has closed")

	// ErrLeft means that the player has left the room.
	ErrLeft = errors.New("the player has left the room")
)

// A LookupError means that a room was not found: either there is none of that
// name, and Err is a [*foyer.Error], or no registry could say, and Err is a
// [*client.NoAnswerError].
type LookupError struct {
	Room foyer.Name
	Err  error
}

func (e *LookupError) Error() string {
	if errors.Is(e.Err, foyer.ErrUnknownName) {
		return fmt.Sprintf("no room called %s is registered", e.Room)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *LookupError) Unwrap() error { return e.Err }

// An UnreachableError means that an exit led to a room that could not be
// entered.
type UnreachableError struct {
	Room string // as the room with the exit calls it
	Err  error  // why it could not be entered
	Back error  // why the player could not go back either; nil if they are back
}

func (e *UnreachableError) Error() string {
	if e.Back != nil {
		return fmt.Sprintf("cannot get to %s: %v; %v", e.Room, e.Err, e.Back)
	}
	return fmt.Sprintf("cannot get to %s: %v", e.Room, e.Err)
}

// Unwrap returns Err.
func (e *UnreachableError) Unwrap() error { return e.Err }

var (
	errClosed = fmt.Errorf("the session is closed: %w", net.ErrClosed)

	// errOnlyPlain says that the room does not know tags.
	errOnlyPlain = errors.New("the room speaks only the plain dialect")
)
