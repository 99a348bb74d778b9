package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"foyer/client"
	"foyer/internal/command"
	"foyer/room"
)

func lookupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lookup NAME",
		Short: "Ask a running registry for a room's address",
		Args:  cobra.ExactArgs(1),
	}
	registries := command.DiscoveryFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := room.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		registry, err := client.New(client.Options{Registries: *registries})
		if err != nil {
			return err
		}
		defer registry.Close()
		answer, err := registry.Lookup(c.Context(), name)
		if errors.Is(err, client.ErrNoAnswer) {
			return command.AskElsewhere(err)
		} else if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), answer.Address)
		return err
	}
	return c
}
