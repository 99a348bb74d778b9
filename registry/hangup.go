package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"foyer/discovery"
)

// catchHangups takes SIGHUP from now until the process ends, so that it does not
// end a registry while that starts or stops either; under nohup too, where it would
// otherwise be ignored, so that keys can be read again. SIGPIPE, which comes when
// the reader of the log goes away, is ignored. Windows sends neither.
func catchHangups() (hangups <-chan os.Signal) {
	signal.Ignore(syscall.SIGPIPE)
	c := make(chan os.Signal, 1) // one that waits stands for all that came since
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// endAtHangup ends the context of a command at SIGHUP too, which comes when the
// terminal is closed, unless the process was started to ignore it, as by nohup. A
// reader that goes away, SIGPIPE, is an error to report when it has cleaned up.
func endAtHangup(c *cobra.Command) (stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	c.SetContext(ctx)
	return stop
}

// rereadAt rereads at each hangup, until ctx ends.
func (o *serveOptions) rereadAt(ctx context.Context, hangups <-chan os.Signal, server *discovery.Server) {
	for {
		select {
		case <-hangups:
			o.reread(server)
		case <-ctx.Done():
			return
		}
	}
}

// reread reads again what the registry has read from files. The keys that are in
// force stay if theirs cannot be read.
func (o *serveOptions) reread(server *discovery.Server) {
	if o.authorized == "" {
		o.log.Info("SIGHUP: there is nothing to read again without --authorized-keys")
		return
	}
	keys, err := readKeys(o.authorized)
	if err != nil {
		o.log.Error("SIGHUP: the authorized keys stay as they were", "err", err)
		return
	}
	server.AuthorizeOnly(keys)
	o.log.Info("SIGHUP: read the authorized keys again", "file", o.authorized, "keys", len(keys))
}
