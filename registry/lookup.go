package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/client"
	"foyer/internal/command"
)

func lookupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "lookup NAME",
		Short:             "Ask a running registry for a room's address",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRooms,
	}
	registries := command.DiscoveryFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := foyer.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		found, _, err := command.FindRegistries(c.Context(), c.Flags(), *registries, name, false)
		if err != nil {
			return err
		}
		registry, err := client.New(client.Options{Registries: found})
		if err != nil {
			return err
		}
		defer registry.Close()
		answer, err := registry.Lookup(c.Context(), name)
		switch {
		case errors.Is(err, foyer.ErrUnknownName):
			return unknown(c.Context(), registry, name)
		case errors.Is(err, client.ErrNoAnswer):
			return command.AskElsewhere(err)
		case err != nil:
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), answer.Address)
		return err
	}
	return c
}

// unknown returns an error that a name is not registered, and whether one in
// another usual case is: a registry cannot be asked for all of them.
func unknown(ctx context.Context, registry *client.Client, name foyer.Name) error {
	start := true
	title := strings.Map(func(r rune) rune {
		first := start
		start = r == ' '
		if first {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, string(name))
	var others []foyer.Name
	for _, s := range []string{title, strings.ToLower(string(name)), strings.ToUpper(string(name))} {
		if other, err := foyer.ParseName(s); err == nil && other != name {
			others = append(others, other)
		}
	}
	for i, found := range registry.LookupAll(ctx, others) {
		if found.Err == nil {
			return fmt.Errorf("no room of the name %q is registered; %q is registered", name, others[i])
		}
	}
	return fmt.Errorf("no room of the name %q is registered", name)
}
