package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"foyer/discovery"
	"foyer/internal/command"
	"foyer/room"
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
from which IP address, and whose key it bears. The last %d events of a name are
kept, and those of the last %d names that are not registered any more.`,
			storage.HistoryPerName, storage.HistoryNames),
		Args: cobra.ExactArgs(1),
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table or json")
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := room.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		if format != "table" && format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", format)
		}
		entries, err := ask(c.Context(), store, "/history", url.Values{"name": {string(name)}},
			func(s *bolt.Reader) iter.Seq2[discovery.Entry, error] { return history(s, name) })
		if err != nil {
			return err
		}
		out := bufio.NewWriter(c.OutOrStdout())
		if format == "json" {
			return errors.Join(printJSON(out, entries), out.Flush())
		}
		n, err := printHistory(out, entries)
		if err == nil && n == 0 {
			err = fmt.Errorf("nothing is known of the name %q", name)
		}
		return errors.Join(err, out.Flush())
	}
	return c
}

func history(s *bolt.Reader, name room.Name) iter.Seq2[discovery.Entry, error] {
	return func(yield func(discovery.Entry, error) bool) {
		events, err := s.History(name)
		if err != nil {
			yield(discovery.Entry{}, err)
			return
		}
		for i := range events {
			if !yield(discovery.EntryOf(&events[i]), nil) {
				return
			}
		}
	}
}

func printHistory(w io.Writer, entries iter.Seq2[discovery.Entry, error]) (n int, err error) {
	for e, err := range entries {
		if err != nil {
			return n, err
		}
		n++
		by := "by the registry"
		switch {
		case e.From != "":
			by = "from " + e.From
		case e.Event == storage.Evicted.String():
			by = "by the operator"
		}
		if _, err := fmt.Fprintf(w, "%s  %-12s  %-32s  %s", e.Time.Format(time.RFC3339), e.Event, e.Address, by); err != nil {
			return n, err
		}
		if e.TTLSeconds > 0 {
			fmt.Fprintf(w, ", ttl %s", time.Duration(e.TTLSeconds)*time.Second)
		}
		if e.Owner != "" {
			fmt.Fprintf(w, ", key %s", e.Owner)
		}
		fmt.Fprintln(w)
	}
	return n, nil
}

func evictCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "evict NAME",
		Short: "End a registration, whoever owns it",
		Args:  cobra.ExactArgs(1),
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := room.ParseName(args[0])
		if err != nil {
			return command.Usagef("%w", err)
		}
		body, err := newAdminClient(store.socket()).do(c.Context(), http.MethodPost, "/evict", url.Values{"name": {string(name)}})
		if err == nil {
			return body.Close()
		}
		if !errors.Is(err, errNoServer) {
			return err
		}
		return evictFromFile(store.path, name)
	}
	return c
}

// evictFromFile ends a registration in the file of a registry that is not
// running. It does not create the file.
func evictFromFile(path string, name room.Name) (err error) {
	file, err := bolt.OpenReadOnly(path)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	store, err := bolt.Open(path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	now := storage.Instant{Wall: time.Now().UTC().Truncate(time.Millisecond), Lease: store.Last().Lease}
	return store.Update(now, func(tx storage.Tx) error {
		reg, err := tx.Get(name)
		if err != nil {
			return err
		}
		return tx.Apply(storage.Event{Kind: storage.Evicted, Time: now.Wall, Registration: reg})
	})
}
