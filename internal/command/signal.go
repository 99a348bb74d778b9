package command

import (
	"context"
	"errors"
)

// interrupted reports whether err says only that a signal ended ctx. If it is
// joined with another error, such as one from cleaning up, it says more.
func interrupted(ctx context.Context, err error) bool {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	_, joined := err.(interface{ Unwrap() []error })
	return !joined && errors.Is(err, context.Canceled) && ctx.Err() != nil
}
