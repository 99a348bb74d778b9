package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"foyer/discovery"
	"foyer/internal/command"
	"foyer/storage"
	"foyer/storage/bolt"
)

func dumpCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "dump",
		Short: "Print every registration, sorted by name",
		Long: `Print every registration, sorted by the bytes of the name, whether or not a
registry is running on the store.

The formats: a table for people; json, one object a line with at least name,
address, registered_at (RFC 3339), ttl_seconds (0 without a lease) and owner (the
public key, or empty); csv with the same columns under a header.`,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table, json or csv")
	c.RunE = func(c *cobra.Command, _ []string) error {
		print, ok := printers[format]
		if !ok {
			return command.Usagef("invalid value %q for --format: it is table, json or csv", format)
		}
		rows, err := registrations(c.Context(), store)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(c.OutOrStdout(), 1<<16)
		return errors.Join(print(out, rows), out.Flush())
	}
	return c
}

// registrations returns the rows of a store: from the registry that holds it,
// or from the file if there is none.
func registrations(ctx context.Context, store *storeFlag) (iter.Seq2[discovery.Row, error], error) {
	return ask(ctx, store, "/registrations", nil, func(s *bolt.Reader) iter.Seq2[discovery.Row, error] {
		return func(yield func(discovery.Row, error) bool) {
			for r, err := range storage.All(s, discovery.DumpPage) {
				if !yield(discovery.RowOf(&r), err) {
					return
				}
			}
		}
	})
}

var printers = map[string]func(io.Writer, iter.Seq2[discovery.Row, error]) error{
	"table": printTable,
	"json":  printJSON[discovery.Row],
	"csv":   printCSV,
}

// printTable keeps to columns that are wide enough for most, so that it can
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
		if _, err := fmt.Fprintf(w, layout, r.Name, r.Address, r.RegisteredAt.Format(time.RFC3339), ttl, owner); err != nil {
			return err
		}
	}
	return nil
}

func printJSON[T any](w io.Writer, rows iter.Seq2[T, error]) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
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
	if err := out.Write([]string{"name", "address", "registered_at", "ttl_seconds", "owner", "from"}); err != nil {
		return err
	}
	for r, err := range rows {
		if err != nil {
			return err
		}
		if err := out.Write([]string{
			string(r.Name), string(r.Address), r.RegisteredAt.Format(time.RFC3339Nano),
			strconv.FormatInt(r.TTLSeconds, 10), r.Owner, r.From,
		}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// ask returns what the registry that holds the store answers to a GET, or what
// read finds in the file if no registry is running.
func ask[T any](ctx context.Context, store *storeFlag, path string, query map[string][]string,
	read func(*bolt.Reader) iter.Seq2[T, error],
) (iter.Seq2[T, error], error) {
	// A registry that starts or stops just now may be met in between: its file
	// is held, and its socket not there.
	for attempt := 0; ; attempt++ {
		body, err := newAdminClient(store.socket()).do(ctx, http.MethodGet, path, query)
		if err == nil {
			return lines[T](body), nil
		}
		if !errors.Is(err, errNoServer) {
			return nil, err
		}
		file, err := bolt.OpenReadOnly(store.path)
		if errors.Is(err, storage.ErrLocked) && attempt == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return func(yield func(T, error) bool) {
			defer file.Close()
			for v, err := range read(file) {
				if !yield(v, err) || err != nil {
					return
				}
			}
		}, nil
	}
}
