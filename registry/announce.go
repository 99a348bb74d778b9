package main

import (
	"context"
	"net/netip"
	"os"
	"strings"

	"foyer/internal/command"
	"foyer/internal/dnssd"
)

// checkAnnounce validates --announce and --world-name, and sets the default of
// the latter.
func (o *serveOptions) checkAnnounce() error {
	if o.announce != "on" && o.announce != "off" {
		return command.Usagef("invalid value %q for --announce: it is on or off", o.announce)
	}
	if o.world == "" {
		host, _ := os.Hostname()
		if o.world, _, _ = strings.Cut(host, "."); dnssd.CheckWorld(o.world) != nil {
			o.world = "foyer"
		}
	}
	if err := dnssd.CheckWorld(o.world); err != nil {
		return command.Usagef("invalid value %q for --world-name: %w", o.world, err)
	}
	return nil
}

// startAnnouncing announces a registry that listens beyond loopback, until ctx
// ends; wait returns when that has been said on the network. A registry that
// cannot be announced is one all the same.
func (o *serveOptions) startAnnouncing(ctx context.Context, listen netip.AddrPort) (wait func()) {
	if o.announce == "off" || listen.Addr().IsLoopback() {
		return func() {}
	}
	// It ends before Serve returns its error too.
	ctx, stop := context.WithCancel(ctx)
	ended, err := dnssd.Announce(ctx, dnssd.Options{World: o.world, Listen: listen, Log: o.log})
	if err != nil {
		stop()
		o.log.Warn("not announced on the local network", "error", err)
		return func() {}
	}
	o.log.Info("announced on the local network", "world", o.world, "service", dnssd.Service)
	return func() {
		stop()
		ended()
	}
}
