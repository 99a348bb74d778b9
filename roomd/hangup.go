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
	c := make(chan os.Signal, 1) // one pending signal stands for all
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// sayAt logs at each hangup, which asks a daemon to reread its files, until ctx
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
