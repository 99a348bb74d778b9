package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/command"
	"foyer/room"
	"foyer/world"
)

// daemon is one run of roomd.
type daemon struct {
	settings
	name foyer.Name
	room *world.Room
	log  *slog.Logger
	in   io.Reader
	out  io.Writer
}

// run serves the room until ctx ends, the operator quits, or the room has lost
// its name.
func (d *daemon) run(ctx context.Context) error {
	go d.sayAt(ctx, catchHangups())
	registration := client.Registration{Name: d.name}
	if !d.plain {
		dir, err := d.stateDir()
		if err != nil {
			return err
		}
		identity, err := openIdentity(dir, d.name)
		if err != nil {
			return err
		}
		defer identity.Close()
		registration.Key, registration.TTL = identity.key, d.ttl
		var all bool
		if registration.Exits, all = foyer.NewExits(d.room.Exits()); !all {
			d.log.Warn("the names of the rooms around are so long that the registry is not told of all exits")
		}
	}
	conn, address, err := d.listen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it had begun
		}
		return err
	}
	defer conn.Close()
	registration.Address = address
	registry, err := client.New(client.Options{Registries: d.registries, Plain: d.plain, Logger: d.log, LocalAddr: d.source(ctx, conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap())})
	if err != nil {
		return err
	}
	defer registry.Close()
	return d.serve(ctx, conn, registry, registration)
}

// serve runs the room on its socket, keeps it registered, and reads the
// console. When the room ends it tells the players and then gives up the name;
// when the name is lost the room ends.
func (d *daemon) serve(ctx context.Context, conn *net.UDPConn, registry *client.Client, r client.Registration) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()

	server := room.New(conn, d.room, room.Options{PlainOnly: d.plain, Logger: d.log})
	served := make(chan error, 1)
	go func() {
		defer quit()
		served <- server.Serve(ctx)
	}()
	lease, err := registry.Claim(ctx, r)
	if err != nil {
		quit()
		serveErr := <-served
		if !errors.Is(err, context.Canceled) {
			return notRegistered(&r, err)
		}
		giveUp(ctx, registry, r)
		return serveErr
	}

	var serveErr, releaseErr error
	var ending sync.WaitGroup
	ending.Go(func() {
		serveErr = <-served
		// Bounded by the client's Timeout, not by what ended the room.
		releaseErr = lease.Release(context.WithoutCancel(ctx))
	})
	for e := range lease.Events() {
		d.report(r, e)
		if e.Kind == client.Registered {
			command.NotifyReady(ctx, func(context.Context) error {
				server.Players() // asks the goroutine that serves
				return nil
			})
			// Not waited for, because a read cannot be interrupted. It ends
			// with its input or with the process.
			go operate(d.in, d.out, server, quit)
		}
	}
	quit()
	ending.Wait()
	switch err := lease.Err(); {
	case errors.Is(err, foyer.ErrReplaced):
		return fmt.Errorf("%q belongs to another room now: %w", string(r.Name), err)
	case !errors.Is(err, net.ErrClosed):
		return notRegistered(&r, err)
	}
	if releaseErr != nil {
		return errors.Join(serveErr, fmt.Errorf("%q was not deregistered: %w", string(r.Name), releaseErr))
	}
	d.log.Info("deregistered")
	return serveErr
}

// giveUp deregisters a room that was stopped while it was being registered. The
// registry may have carried that out, or may not be running at all.
func giveUp(ctx context.Context, registry *client.Client, r client.Registration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	registry.Deregister(ctx, r.Name, r.Key)
}

// notRegistered adds to a refusal which room it is about. Silence is not about
// the room.
func notRegistered(r *client.Registration, err error) error {
	if errors.Is(err, client.ErrNoAnswer) {
		return command.AskElsewhere(err)
	}
	if _, refused := errors.AsType[*foyer.Error](err); !refused {
		return err
	}
	switch {
	case errors.Is(err, foyer.ErrUnauthorized) && r.Key != nil:
		// For the registry's operator, who has to authorize the key.
		return fmt.Errorf("%q cannot be registered: %w; this room's key is %s", string(r.Name), err, foyer.Key(r.Key.Public().(ed25519.PublicKey)))
	case errors.Is(err, foyer.ErrForeignAddress):
		return fmt.Errorf("%q cannot be registered at %s, use --advertise: %w", string(r.Name), r.Address, err)
	}
	return fmt.Errorf("%q cannot be registered: %w", string(r.Name), err)
}

// report logs what happened to the registration.
func (d *daemon) report(r client.Registration, e client.Event) {
	switch e.Kind {
	case client.Registered:
		d.log.Info("registered", "address", r.Address, "lease", e.TTL)
		fmt.Fprintf(d.out, "roomd: %s listening on %s\n", r.Name, r.Address)
	case client.Answering, client.RegisteredAnew:
		d.log.Info(e.Kind.String(), "address", r.Address, "lease", e.TTL)
	default:
		d.log.Warn(e.Kind.String(), "error", e.Err)
	}
}

// listen opens the room's socket on a port that the system chooses, and returns
// the address to register. If the registered host is an address of this machine
// the socket is bound to it, so that on machines with several addresses replies
// come from the address that was asked, which clients insist on.
func (d *daemon) listen(ctx context.Context) (*net.UDPConn, foyer.Address, error) {
	host := d.advertise
	if host == "" {
		local, err := localAddr(ctx, d.registries)
		if err != nil {
			return nil, "", err
		}
		host = local.String()
	}
	var conn *net.UDPConn
	ip, err := netip.ParseAddr(host)
	if err == nil {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), 0)))
	}
	if err != nil { // a name, or an address that is translated (NAT)
		conn, err = net.ListenUDP("udp", nil)
	}
	if err != nil {
		return nil, "", err
	}
	address, err := foyer.AddressOf(host, uint16(conn.LocalAddr().(*net.UDPAddr).Port))
	if err != nil {
		conn.Close()
		return nil, "", fmt.Errorf("no room can be registered at %s, use --advertise: %w", host, err)
	}
	return conn, address, nil
}

// source returns the address to ask the registry from: the advertised one, if
// the room's socket could be bound to it and the system might use another one,
// because a registry accepts only the address that the request comes from.
// Otherwise the choice is left to the system.
func (d *daemon) source(ctx context.Context, bound netip.Addr) (none netip.Addr) {
	if d.advertise == "" || bound.IsUnspecified() {
		return none
	}
	local, err := localAddr(ctx, d.registries)
	if err != nil || local.IsLoopback() || local.Is4() != bound.Is4() {
		return none
	}
	return bound
}

// localAddr returns the address from which this machine reaches the first
// registry that it has a route to. It sends nothing.
func localAddr(ctx context.Context, registries []string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, client.Timeout) // resolving a name can take long
	defer cancel()
	var first error
	for _, registry := range registries {
		c, err := new(net.Dialer).DialContext(ctx, "udp", registry)
		if err != nil {
			if first == nil {
				first = command.AskElsewhere(fmt.Errorf("registry %s cannot be reached: %w", registry, err))
			}
			continue
		}
		local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
		return local, nil
	}
	return netip.Addr{}, first
}
