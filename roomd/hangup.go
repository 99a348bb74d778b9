package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// catchHangups takes SIGHUP from now until the process ends, so that it does not
// end a room while that opens or closes either. Windows sends none.
func catchHangups() <-chan os.Signal {
	c := make(chan os.Signal, 1) // one that waits stands for all that came since
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// sayAt answers hangups, which ask a daemon to read its files again, until ctx
// ends.
func (d *daemon) sayAt(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			d.log.Info("SIGHUP: there is nothing to read again")
		case <-ctx.Done():
			return
		}
	}
}
