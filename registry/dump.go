package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"foyer/discovery"
	"foyer/internal/command"
)

func dumpCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "dump",
		Short: "Print every registration, sorted by name",
		Long: `Print every registration, sorted by the bytes of the name, whether or not a
registry is running on the store.

The formats: a table for people; json, one object per line with at least name,
address, registered_at (RFC 3339), ttl_seconds (0 without a lease), owner (the
public key, or empty), and exits (an object of directions and rooms) if the room has
told them; csv with the same columns under a header, in which a cell
that a spreadsheet would take for a formula (=, +, -, @), or that begins with an
apostrophe, has an apostrophe before it.`,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table, json or csv")
	c.RunE = func(c *cobra.Command, _ []string) error {
		print, ok := printers[format]
		if !ok {
			return command.Usagef("invalid value %q for --format: it is table, json or csv", format)
		}
		all, err := registrations(c.Context(), store, "")
		if err != nil {
			return err
		}
		rows := func(yield func(discovery.Row, error) bool) {
			for r, err := range all {
				// What the store has, whether or not a registry runs on it.
				r.LeaseRemaining, r.LastHeardAt = nil, time.Time{}
				if !yield(r, err) {
					return
				}
			}
		}
		out := bufio.NewWriterSize(c.OutOrStdout(), 1<<16)
		return errors.Join(print(out, rows), out.Flush())
	}
	return c
}

var printers = map[string]func(io.Writer, iter.Seq2[discovery.Row, error]) error{
	"table": printTable,
	"json":  printJSON[discovery.Row],
	"csv":   printCSV,
}

// printTable uses fixed columns, wide enough for most rows, so that it can
// print the first row before it has read the last.
func printTable(w io.Writer, rows iter.Seq2[discovery.Row, error]) error {
	const layout = "%-24s  %-32s  %-20s  %6s  %s\n"
	if _, err := fmt.Fprintf(w, layout, "NAME", "ADDRESS", "REGISTERED", "TTL", "OWNER"); err != nil {
		return err
	}
	for r, err := range rows {
		if err != nil {
			return err
		}
		ttl, owner := "-", "-"
		if r.TTLSeconds > 0 {
			ttl = (time.Duration(r.TTLSeconds) * time.Second).String()
		}
		if r.Owner != "" {
			owner = r.Owner
		}
		name, address := command.Printable(string(r.Name)), command.Printable(string(r.Address))
		if _, err := fmt.Fprintf(w, layout, name, address, r.RegisteredAt.Format(time.RFC3339), ttl, owner); err != nil {
			return err
		}
	}
	return nil
}

// newEncoder returns an encoder of JSON for a terminal or a pipe, not for a page.
func newEncoder(w io.Writer) *json.Encoder {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	return out
}

func printJSON[T any](w io.Writer, rows iter.Seq2[T, error]) error {
	out := newEncoder(w)
	for r, err := range rows {
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

func printCSV(w io.Writer, rows iter.Seq2[discovery.Row, error]) error {
	out := csv.NewWriter(w)
	defer out.Flush()
	if err := out.Write([]string{"name", "address", "registered_at", "ttl_seconds", "owner", "from", "exits"}); err != nil {
		return err
	}
	for r, err := range rows {
		if err != nil {
			return err
		}
		cells := []string{
			string(r.Name), string(r.Address), r.RegisteredAt.Format(time.RFC3339Nano),
			strconv.FormatInt(r.TTLSeconds, 10), r.Owner, r.From, "",
		}
		if r.Exits != "" {
			exits, _ := r.Exits.MarshalJSON()
			cells[len(cells)-1] = string(exits)
		}
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// cell makes s safe for a spreadsheet, which would run anything that begins
// like a formula: an apostrophe in front makes it text. A leading apostrophe
// gets one too, so that removing one always gives back s.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r＝＋－＠'", []rune(s)[0]) {
		return "'" + s
	}
	return s
}
