package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"foyer"
	"foyer/client"
	"foyer/internal/dnssd"
)

const (
	// loopbackSilence is how long the registry of this machine has not answered
	// when the local network is asked as well, and askNetwork for how long that
	// is. Both together are well within client.Timeout.
	loopbackSilence = time.Second
	askNetwork      = time.Second
)

// FindRegistries returns the registries to ask, for a program that begins. These
// are those of --discovery, in list. Without that flag it is the one on this
// machine if it answers, or else one that announces itself on the local network;
// world is then the name of its world, as it was sent, and else empty. It asks
// the registry on this machine for name; plain is as in [client.Options].
//
// The error, after client.Timeout, is that of the registry on this machine, or
// one that lists the worlds if several are announced.
func FindRegistries(ctx context.Context, flags *pflag.FlagSet, list []string, name foyer.Name, plain bool) (registries []string, world string, err error) {
	if flags.Changed("discovery") {
		return list, "", nil
	}
	c, err := client.New(client.Options{Registries: list, Plain: plain})
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	local := make(chan error, 1)
	go func() {
		_, err := c.Lookup(ctx, name)
		local <- err
	}()
	network := make(chan []dnssd.Registry, 1)
	silence := time.NewTimer(loopbackSilence)
	defer silence.Stop()
	asking, stop := context.WithCancel(ctx)
	defer stop()
	for {
		select {
		case err := <-local:
			if errors.Is(err, client.ErrNoAnswer) {
				return nil, "", AskElsewhere(err)
			}
			return list, "", nil
		case <-silence.C:
			go func() {
				asking, cancel := context.WithTimeout(asking, askNetwork)
				defer cancel()
				found, _ := dnssd.Browse(asking) // that of the registry on this machine is the error to report
				network <- found
			}()
		case found := <-network:
			switch worlds := dnssd.Worlds(found); {
			case ctx.Err() != nil || len(worlds) == 0: // the registry on this machine may still be starting
			case len(worlds) == 1:
				return []string{found[0].Address.String()}, worlds[0], nil
			default:
				return nil, "", severalWorlds(found)
			}
		}
	}
}

// severalWorlds returns an error that lists the worlds, each with the address
// that comes first.
func severalWorlds(found []dnssd.Registry) error {
	var list []string
	last := ""
	for _, r := range found {
		if r.World != last {
			list = append(list, fmt.Sprintf("%q at %s", r.World, r.Address))
		}
		last = r.World
	}
	return fmt.Errorf("several worlds are announced on the local network, --discovery HOST:PORT chooses one: %s", strings.Join(list, ", "))
}
