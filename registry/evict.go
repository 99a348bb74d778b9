package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/discovery"
	"foyer/internal/command"
	"foyer/storage"
	"foyer/storage/bolt"
)

func evictCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "evict NAME",
		Short: "End a registration, whoever owns it",
		Long: `End a registration, whoever owns it, and print what it was. A room that is
running notices at its next renewal, after a third of its lease (10 s of 30 s),
and registers again. With --for nobody can register the name for that long,
whether or not it is registered now: the room ends when it tries, and says why; a
room of the plain dialect keeps trying. 'registry allow NAME' lifts that, and
'registry list --evicted' shows it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRooms,
	}
	store := addStoreFlag(c.Flags())
	hold := c.Flags().Duration("for", 0, "keep the name from being registered for that long, such as 10m")
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := foyer.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		query := url.Values{}
		if c.Flags().Changed("for") {
			if *hold <= 0 || *hold > discovery.MaxHold {
				return command.Usagef("invalid value %v for --for: more than 0 and at most %v", *hold, discovery.MaxHold)
			}
			query.Set("for", hold.String())
		}
		var e discovery.Evicted
		err = change(c.Context(), store, func(server *adminClient) error {
			body, err := server.do(c.Context(), http.MethodDelete, roomPath("rooms", name), query)
			if err != nil {
				return err
			}
			defer body.Close()
			return json.NewDecoder(body).Decode(&e)
		}, func(tx storage.Tx, now time.Time) error {
			eviction, err := discovery.Evict(tx, now, name, *hold)
			e = discovery.EvictedOf(eviction)
			return err
		})
		if err != nil {
			return notRegistered(store, name, err)
		}
		text := fmt.Sprintf("%q was not registered", name)
		if e.Ended != nil {
			text = fmt.Sprintf("evicted %q, %s", name, e.Ended.Address)
			if e.Ended.From != "" {
				text += ", registered from " + e.Ended.From
			}
			if e.Ended.Owner != "" {
				text += ", key " + e.Ended.Owner
			}
		}
		if !e.Until.IsZero() {
			text += "; nobody can register it until " + e.Until.Format(time.RFC3339)
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), command.Printable(text))
		return err
	}
	return c
}

// notRegistered adds details to the file's error that a name is unknown, as a
// server would.
func notRegistered(store *storeFlag, name foyer.Name, err error) error {
	if refusal, ok := errors.AsType[*foyer.Error](err); !ok || refusal.Code != foyer.UnknownName {
		return err
	}
	file, openErr := bolt.OpenReadOnly(store.path)
	if openErr != nil {
		return err
	}
	defer file.Close()
	return discovery.NotRegistered(file, name)
}

func allowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "allow NAME",
		Short:             "Let a name be registered again that was evicted for a while",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeHeld,
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := foyer.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		err = change(c.Context(), store, func(server *adminClient) error {
			body, err := server.do(c.Context(), http.MethodDelete, roomPath("holds", name), nil)
			if err != nil {
				return err
			}
			return body.Close()
		}, func(tx storage.Tx, now time.Time) error {
			held, err := discovery.Allow(tx, now, name)
			if err == nil && !held {
				err = discovery.NotHeld(name)
			}
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%q can be registered\n", name)
		return err
	}
	return c
}
