package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"foyer"
	"foyer/discovery"
	"foyer/dns"
	"foyer/internal/command"
	"foyer/internal/udp"
	"foyer/storage"
)

// dnsOptions are what a registry answers over DNS, if it does, and with what.
type dnsOptions struct {
	listen      string
	domain      string
	nameServers []string

	udp    []udp.Conn
	tcp    net.Listener
	server *dns.Server
}

func (o *dnsOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.listen, "dns", "", `also answer for rooms over DNS, at an address such as ":53"; needs --domain`)
	flags.StringVar(&o.domain, "domain", "", `the domain that rooms are in over DNS, such as "rooms.example"`)
	flags.StringSliceVar(&o.nameServers, "name-server", nil, "a host that --domain is delegated to, if that is not the domain itself; may be repeated")
}

// check finds wrong usage.
func (o *dnsOptions) check() error {
	switch {
	case o.listen == "" && o.domain == "" && o.nameServers == nil:
		return nil
	case o.listen == "" || o.domain == "":
		return command.Usagef("--dns and --domain need each other")
	}
	if err := checkAddress("dns", o.listen); err != nil {
		return err
	}
	if _, err := dns.New(nil, o.zone(nil)); err != nil {
		return command.Usagef("invalid --domain or --name-server: %w", err)
	}
	return nil
}

func (o *dnsOptions) zone(log *slog.Logger) dns.Options {
	return dns.Options{Domain: o.domain, NameServers: o.nameServers, Log: log}
}

// portTries is how often the system is asked for a port that is free for UDP and TCP.
const portTries = 10

// open opens the sockets, for UDP and TCP at the same port.
func (o *dnsOptions) open() (err error) {
	if o.listen == "" {
		return nil
	}
	_, port, _ := net.SplitHostPort(o.listen)
	for range portTries {
		if o.udp, err = udp.ListenServer(o.listen, runtime.GOMAXPROCS(0)); err != nil {
			return fmt.Errorf("--dns: %w", err)
		}
		if o.tcp, err = net.Listen("tcp", o.udp[0].LocalAddr().String()); err == nil {
			return nil
		}
		closeAll(o.udp, nil)
		if port != "0" || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return fmt.Errorf("--dns: %w", err)
}

func (o *dnsOptions) close() { closeAll(o.udp, o.tcp) }

// named is what DNS asks of a registry.
type named struct {
	store  storage.Store
	server *discovery.Server
}

func (n named) FindAll(queries []storage.Query) { n.store.FindAll(queries) }

func (n named) LeaseLeft(r *foyer.Registration) (time.Duration, bool) { return n.server.LeaseLeft(r) }

func (o *dnsOptions) new(store storage.Store, server *discovery.Server, log *slog.Logger) (err error) {
	o.server, err = dns.New(named{store, server}, o.zone(log))
	return err
}

// start begins to answer, if there is anything to. The context that it returns ends
// when that fails for good; stop waits for the end of either and returns the failure.
func (o *dnsOptions) start(ctx context.Context) (_ context.Context, stop func() error) {
	if o.server == nil {
		return ctx, func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- o.server.Serve(ctx, o.tcp, o.udp...)
	}()
	return ctx, func() error {
		cancel()
		return <-ended
	}
}
