package command

import (
	"context"
	"errors"
)

// interrupted reports whether a command failed because a signal ended ctx, if err
// means no more than that this happened. An error that comes joined with that, of
// cleaning up perhaps, means more.
func interrupted(ctx context.Context, err error) bool {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	_, joined := err.(interface{ Unwrap() []error })
	return !joined && errors.Is(err, context.Canceled) && ctx.Err() != nil
}
