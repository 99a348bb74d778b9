//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onHangup calls fn at each SIGHUP, one after the other, until it is stopped.
func onHangup(fn func()) (stop func()) {
	hangups := make(chan os.Signal, 1) // one waiting stands for all that came since
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				fn()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}
