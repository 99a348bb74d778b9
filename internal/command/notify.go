package command

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// NotifyReady tells systemd, if it has started the program as a service of
// Type=notify, that the program is ready, and when ctx ends, that it is stopping.
// If the unit sets WatchdogSec, systemd is told twice in that time that the
// program lives: after ping, which asks the part of the program that matters,
// has returned nil. Nothing waits for systemd.
func NotifyReady(ctx context.Context, ping func(context.Context) error) {
	go func() {
		notify(daemon.SdNotifyReady)
		if limit, _ := daemon.SdWatchdogEnabled(false); limit > 0 {
			watch(ctx, limit/2, ping)
		}
		<-ctx.Done()
		notify(daemon.SdNotifyStopping)
	}()
}

func watch(ctx context.Context, every time.Duration, ping func(context.Context) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if ping(ctx) == nil {
				notify(daemon.SdNotifyWatchdog)
			}
		}
	}
}

// notify does nothing without systemd. A message that cannot be sent is not worth
// a line: systemd says itself what it has waited for in vain.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }
