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
	c := make(chan os.Signal, 1) // one pending signal stands for all
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// endAtHangup makes SIGHUP, which comes when the terminal is closed, end the
// context of a command too, unless it was ignored from the start, as by nohup.
// SIGPIPE is ignored: that the reader has gone is an error to report after
// cleaning up.
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

// reread reads the registry's files again. What cannot be read stays in force as it
// is.
func (o *serveOptions) reread(server *discovery.Server) {
	if o.authorized == "" && o.token == "" {
		o.log.Info("SIGHUP: there is nothing to read again without --authorized-keys and --admin-token-file")
	}
	if o.authorized != "" {
		if keys, err := readKeys(o.authorized); err != nil {
			o.log.Error("SIGHUP: the authorized keys stay as they were", "err", err)
		} else {
			server.AuthorizeOnly(keys)
			o.log.Info("SIGHUP: read the authorized keys again", "file", o.authorized, "keys", len(keys))
		}
	}
	if o.token != "" {
		if token, err := readToken(o.token); err != nil {
			o.log.Error("SIGHUP: the admin token stays as it was", "err", err)
		} else {
			o.admin.SetToken(token)
			o.log.Info("SIGHUP: read the admin token again", "file", o.token)
		}
	}
}
