package room

import (
	"context"
	"log/slog"
	"time"
)

// logRate and logBurst bound the log, in records a second and at once:
// strangers cause everything in it.
const (
	logRate  = 50
	logBurst = 200
)

// limitedLog writes to a logger up to a rate, and counts what it leaves out.
type limitedLog struct {
	to      *slog.Logger
	bucket  bucket
	skipped int // records since the last one that was written
}

func (l *limitedLog) info(now time.Time, what string, attrs ...any) {
	l.log(now, slog.LevelInfo, what, attrs)
}

func (l *limitedLog) debug(now time.Time, what string, attrs ...any) {
	l.log(now, slog.LevelDebug, what, attrs)
}

func (l *limitedLog) log(now time.Time, level slog.Level, what string, attrs []any) {
	ctx := context.Background()
	if !l.to.Enabled(ctx, level) {
		return
	}
	l.bucket.refill(now, logRate, logBurst)
	if l.bucket.tokens < 1 {
		l.skipped++
		return
	}
	l.bucket.tokens--
	if l.skipped > 0 {
		attrs = append(attrs, "records_left_out_before", l.skipped)
		l.skipped = 0
	}
	l.to.Log(ctx, level, what, attrs...)
}
