package main

import (
	"cmp"
	"context"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
)

const (
	// completionTime is how long a shell waits for names: no longer than somebody who
	// types.
	completionTime = 200 * time.Millisecond

	// mostCompletions is how many names a shell gets, at most.
	mostCompletions = 200
)

// completeRooms completes NAME with what is registered.
func completeRooms(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return complete(c, args, "/v1/rooms", prefix, func(r *admin.Rooms) []discovery.Row { return r.Rooms }, func(r discovery.Row) string { return string(r.Name) })
}

// completeHeld completes NAME with what was evicted for a while.
func completeHeld(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return complete(c, args, "/v1/holds", prefix, func(h *admin.Holds) []discovery.Held { return h.Holds }, func(h discovery.Held) string { return string(h.Name) })
}

// complete asks the registry that runs on the store, if one does, for names that begin
// with prefix.
func complete[A, T any](c *cobra.Command, args []string, path, prefix string, all func(*A) []T, name func(T) string) (names []string, d cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	store := &storeFlag{path: cmp.Or(os.Getenv(command.Variable("store")), defaultStore)}
	if f := c.Flags().Lookup("store"); f != nil {
		store = f.Value.(*storeFlag)
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	query := url.Values{"prefix": {prefix}, "limit": {strconv.Itoa(mostCompletions)}}
	answer, _ := get[A](ctx, newAdminClientOf(store.socket(), completionTime), path, query) // without an answer there are no names
	for _, v := range all(&answer) {
		if len(names) < mostCompletions {
			names = append(names, name(v))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
