package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
	"foyer/storage"
	"foyer/storage/bolt"
)

func explainCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "explain NAME",
		Short: "Tell what happened to a name, newest first",
		Long: fmt.Sprintf(`Tell what happened to a name, newest first: when it was registered, replaced,
renewed late, expired, deregistered or evicted, at which address, by a request
from which IP address, and with whose key; and whether, and until when, the
operator keeps it from being registered. The last %d events of a name are
kept, and those of the last %d names that are not registered any more.`,
			storage.HistoryPerName, storage.HistoryNames),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeRooms,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table or json")
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := foyer.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		if format != "table" && format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", format)
		}
		entries, err := ask(c.Context(), store, func(client *adminClient) iter.Seq2[discovery.Entry, error] {
			return each(c.Context(), client, roomPath("rooms", name)+"/events", nil, func(e admin.Events) []discovery.Entry { return e.Events })
		},
			func(s *bolt.Store) iter.Seq2[discovery.Entry, error] { return discovery.History(s, name, wallOf(s)) })
		if err != nil {
			return err
		}
		out := bufio.NewWriter(c.OutOrStdout())
		if format == "json" {
			return errors.Join(printJSON(out, entries), out.Flush())
		}
		return errors.Join(printHistory(out, entries), out.Flush())
	}
	return c
}

func printHistory(w io.Writer, entries iter.Seq2[discovery.Entry, error]) error {
	for e, err := range entries {
		if err != nil {
			return err
		}
		address, by := command.Printable(string(e.Address)), "by the registry"
		switch {
		case e.From != "":
			by = "from " + e.From
		case !e.Until.IsZero():
			address, by = "-", "by the operator, until "+e.Until.Format(time.RFC3339)
		case e.Event == storage.Evicted.String(), e.Event == storage.Registered.String(): // imported
			by = "by the operator"
		}
		if _, err := fmt.Fprintf(w, "%s  %-12s  %-32s  %s", e.Time.Format(time.RFC3339), e.Event, address, by); err != nil {
			return err
		}
		if e.TTLSeconds > 0 {
			fmt.Fprintf(w, ", ttl %s", time.Duration(e.TTLSeconds)*time.Second)
		}
		if e.Owner != "" {
			fmt.Fprintf(w, ", key %s", e.Owner)
		}
		fmt.Fprintln(w)
	}
	return nil
}
