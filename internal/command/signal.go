package command

import (
	"context"
	"errors"
	"syscall"
)

// interrupted returns the signal that kept a command from what it was asked: the
// one that ended ctx, if err means no more than that this happened. Otherwise it
// returns 0. An error that comes joined with that, of cleaning up perhaps, means
// more.
func interrupted(ctx context.Context, err error) syscall.Signal {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	if _, joined := err.(interface{ Unwrap() []error }); joined || !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		return 0
	}
	// The cause that signal.NotifyContext gives says which signal it was in
	// its text only.
	cause := context.Cause(ctx).Error()
	for s := syscall.Signal(1); s < 32; s++ {
		if cause == s.String()+" signal received" {
			return s
		}
	}
	return 0
}
