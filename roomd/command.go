package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/internal/command"
	"foyer/world"
)

// defaultTTL is the lease that rooms ask for: a room whose machine has died
// disappears from the registry after that.
const defaultTTL = 30 * time.Second

// settings are the values of the flags.
type settings struct {
	registries []string
	plain      bool
	advertise  string // a host, or empty
	state      string // a folder, or empty for the default one
	ttl        time.Duration
}

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "roomd NAME DESCRIPTION [ITEM...]",
		Short: "Serve a room",
		Long: "Roomd serves the room NAME, with the ITEMs in it, and registers it. It runs until it is stopped\n" +
			"by SIGINT or SIGTERM, or by quit on its standard input, where look and players show what is going on.\n" +
			"Without --discovery it also finds a registry that is announced on the local network, if none on this\n" +
			"machine answers when it starts.\n" +
			"SIGHUP does not end it: it has no files to reread.\n" +
			"What happens in the room, including what is said there, is logged to standard error.",
		Example: "  roomd Foyer 'A hall with a marble floor.' lamp 'brass key' --north 'Great Hall'\n" +
			"  roomd --discovery registry.example.org:7666 --advertise rooms.example.org Cellar 'It is dark.'",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions, // no registry can be asked for all names over UDP
	}
	flags := cmd.Flags()
	exits := make(map[foyer.Direction]*string)
	for _, d := range foyer.Directions() {
		exits[d] = flags.StringP(d.String(), d.String()[:1], "", "the `ROOM` "+where(d))
		flags.Lookup(d.String()).DefValue = ""
	}
	registries := command.DiscoveryFlag(flags)
	plain := command.PlainFlag(flags)
	var o settings
	flags.StringVar(&o.advertise, "advertise", "", "the `HOST` in the room's address (default: the local address from which the registry is reached)")
	flags.StringVar(&o.state, "state", "", "the folder `DIR` with the rooms' keys (default: $XDG_STATE_HOME/foyer, else ~/.local/state/foyer)")
	flags.DurationVar(&o.ttl, "ttl", defaultTTL, "the lease to ask for; 0 for none")
	logging := command.LogFlags(flags)

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.plain = *plain
		r, err := newRoom(args, exits)
		if err != nil {
			return err
		}
		if err := o.check(); err != nil {
			return err
		}
		d := &daemon{
			settings: o,
			name:     r.Name(),
			room:     r,
			log:      command.NewLogger(cmd, logging).With("room", string(r.Name())),
			in:       cmd.InOrStdin(),
			out:      cmd.OutOrStdout(),
		}
		found, world, err := command.FindRegistries(cmd.Context(), flags, *registries, d.name, o.plain)
		if err != nil {
			if cmd.Context().Err() != nil {
				return nil // stopped before it had begun
			}
			return err
		}
		if d.registries = found; world != "" {
			d.log.Info("found a registry on the local network", "world", world, "registry", found[0])
		}
		return d.run(cmd.Context())
	}
	return cmd
}

func where(d foyer.Direction) string {
	switch d {
	case foyer.Up:
		return "above"
	case foyer.Down:
		return "below"
	}
	return "to the " + d.String()
}

// newRoom returns the room that the arguments describe.
func newRoom(args []string, exits map[foyer.Direction]*string) (*world.Room, error) {
	name, err := foyer.ParseName(args[0])
	if err != nil {
		return nil, command.Usagef("the room's name %q: %w", args[0], err)
	}
	ways := make(map[foyer.Direction]foyer.Name)
	for d, to := range exits {
		if *to == "" {
			continue
		}
		if ways[d], err = foyer.ParseName(*to); err != nil {
			return nil, command.Usagef("--%s %q: %w", d, *to, err)
		}
	}
	r, err := world.New(name, args[1], ways, args[2:])
	if err != nil {
		return nil, command.Usagef("%w", err)
	}
	return r, nil
}

// check validates the flags' values.
func (o *settings) check() error {
	if o.ttl < 0 {
		return command.Usagef("--ttl must not be negative")
	}
	if o.advertise != "" {
		if _, err := foyer.AddressOf(o.advertise, 1); err != nil {
			return command.Usagef("--advertise %q: %w", o.advertise, err)
		}
	}
	return nil
}

// stateDir returns the folder for keys.
func (o *settings) stateDir() (string, error) {
	if o.state != "" {
		return o.state, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // the specification says to ignore relative ones
		return filepath.Join(dir, "foyer"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the room's key, use --state: %w", err)
	}
	return filepath.Join(home, ".local", "state", "foyer"), nil
}
