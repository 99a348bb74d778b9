package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
	"foyer/storage/bolt"
)

func listCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "Print names and addresses, or the names that were evicted for a while",
		Long: `Print the names that are registered, or those that begin with PREFIX, with their
addresses, sorted by the bytes of the name, and while a registry runs how long each
lease still runs and when the room was last heard. With --evicted, print those that
'evict --for' keeps from being registered, since when and until when.

The formats: a table for people; json, one object per line: as dump prints it, while
a registry runs also with lease_remaining_seconds and last_heard_at (RFC 3339), or
with name, since and until.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRooms,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table or json")
	evicted := c.Flags().Bool("evicted", false, "print the names that are kept from being registered")
	c.RunE = func(c *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", format)
		}
		prefix := prefixOf(args)
		out := bufio.NewWriterSize(c.OutOrStdout(), 1<<16)
		if *evicted {
			held, err := ask(c.Context(), store, func(client *adminClient) iter.Seq2[discovery.Held, error] {
				return each(c.Context(), client, "/v1/holds", url.Values{"prefix": {prefix}}, func(h admin.Holds) []discovery.Held { return h.Holds })
			},
				func(s *bolt.Store) iter.Seq2[discovery.Held, error] {
					return discovery.HeldNames(s, foyer.Name(prefix), wallOf(s))
				})
			if err != nil {
				return err
			}
			return errors.Join(printList(out, format, held, []string{"NAME", "SINCE", "UNTIL"}, func(h discovery.Held) []string {
				return []string{string(h.Name), h.Since.Format(time.RFC3339), h.Until.Format(time.RFC3339)}
			}), out.Flush())
		}
		rows, err := registrations(c.Context(), store, prefix)
		if err != nil {
			return err
		}
		return errors.Join(printList(out, format, rows, []string{"NAME", "ADDRESS", "LEASE", "HEARD"}, roomCells), out.Flush())
	}
	return c
}

// roomCells are those of a room: a lease that does not run, or of which nothing is known
// because no registry runs, is "-".
func roomCells(r discovery.Row) []string {
	lease, heard := "-", "-"
	if r.LeaseRemaining != nil {
		lease = time.Duration(*r.LeaseRemaining).Truncate(time.Second).String()
	}
	if !r.LastHeardAt.IsZero() {
		heard = max(0, time.Since(r.LastHeardAt)).Truncate(time.Second).String() + " ago"
	}
	return []string{string(r.Name), string(r.Address), lease, heard}
}

// printList prints JSON, or a table of the cells that columns returns.
func printList[T any](w io.Writer, format string, all iter.Seq2[T, error], heads []string, columns func(T) []string) error {
	if format == "json" {
		return printJSON(w, all)
	}
	line := func(cells []string) error {
		for i, cell := range cells {
			if i+1 < len(cells) {
				cell = fmt.Sprintf("%-24s  ", command.Printable(cell))
			} else {
				cell = command.Printable(cell) + "\n"
			}
			if _, err := io.WriteString(w, cell); err != nil {
				return err
			}
		}
		return nil
	}
	if err := line(heads); err != nil {
		return err
	}
	for v, err := range all {
		if err != nil {
			return err
		}
		if err := line(columns(v)); err != nil {
			return err
		}
	}
	return nil
}
