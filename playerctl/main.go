package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/client"
	"foyer/internal/command"
	"foyer/player"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader that goes away is a write error: the player leaves before the program ends
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return command.Run(ctx, newCommand(), args, stdin, stdout, stderr)
}

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "playerctl PLAYER ROOM",
		Short: "Play in a world of rooms",
		Long: "Playerctl joins the room ROOM as PLAYER and plays there. Type help for the commands.\n" +
			"It reads from a pipe as well as from a terminal. Without --discovery it also finds a registry that is\n" +
			"announced on the local network, if none on this machine answers.",
		Example:           "  playerctl Alice Foyer\n  printf 'look\\nnorth\\n' | playerctl Alice Foyer",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions, // no registry can be asked for all names over UDP
	}
	registries := command.DiscoveryFlag(cmd.Flags())
	plain := command.PlainFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := foyer.ParseName(args[0])
		if err != nil {
			return command.Usagef("the player %q: %w", args[0], err)
		}
		start, err := foyer.ParseName(args[1])
		if err != nil {
			return command.Usagef("the room %q: %w", args[1], err)
		}
		found, world, err := command.FindRegistries(cmd.Context(), cmd.Flags(), *registries, start, *plain)
		if err != nil {
			return err
		}
		if world != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "playerctl: in the world %q, found on the local network at %s\n", world, found[0])
		}
		c, err := client.New(client.Options{Registries: found, Plain: *plain})
		if err != nil {
			return err
		}
		defer c.Close()
		console := newConsole(cmd.InOrStdin(), cmd.OutOrStdout())
		defer console.Close()
		g := &game{player: player.New(c, string(name), player.Options{Plain: *plain}), console: console}
		return g.play(cmd.Context(), start)
	}
	return cmd
}
