package exchange

import (
	"context"
	"errors"
	"time"
)

// Timeout is client.Timeout, which package player keeps to as well.
const Timeout = 5 * time.Second

// ErrTimeout is the cause of a context that ended because [Timeout], or the
// longer time of a probe, was over.
var ErrTimeout = errors.New("timeout")

// Limit returns ctx with a deadline [Timeout] from now.
func Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, Timeout, ErrTimeout)
}

// Reason returns what to report for a request that was given up because ctx
// ended: the caller's own deadline or cancellation, or, after [ErrTimeout], err,
// which may be nil.
func Reason(ctx context.Context, err error) error {
	if context.Cause(ctx) != ErrTimeout {
		return ctx.Err()
	}
	return err
}
