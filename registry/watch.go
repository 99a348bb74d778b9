package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"foyer"
	"foyer/admin"
	"foyer/internal/command"
)

const (
	// watchTimeout is how long a registry may say nothing to one who watches: it
	// sends a heartbeat every 15 seconds.
	watchTimeout = 40 * time.Second

	// watchRetry is how soon a registry that is gone is looked for again.
	watchRetry = 250 * time.Millisecond
)

func watchCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "watch [PREFIX]",
		Short: "Print what is registered and what ends as it happens",
		Long: `Print a line for each registration that begins, changes or ends, or those whose names
begin with PREFIX, until SIGINT or SIGTERM: the time, what has happened, the name and
the address. Renewals are no changes.

What has happened is registered, replaced (by its owner, at another address), extended
(another lease), expired, deregistered or evicted; or settled, if the registry could
not write for a while and only the result is known. With --all it begins with what is
registered already: present.

If the registry ends it waits for it to come back, and goes on where it was. A line on
standard error says so, and whether changes may be missing.

The formats: a table for people; json, one object per line: of a registration as dump
prints it, with event and time; of one that has ended name, address, event and time.
With --all there are also {"event":"reset"}, before what is registered is listed, again
after changes were missed, and {"event":"synced"} after it: from these a copy can be
kept.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRooms,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table or json")
	all := c.Flags().Bool("all", false, "begin with what is registered already")
	c.RunE = func(c *cobra.Command, args []string) error {
		if format != "table" && format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", format)
		}
		w := &watcher{
			client: newAdminClientOf(store.socket(), watchTimeout),
			prefix: prefixOf(args),
			json:   format == "json",
			all:    *all,
			out:    bufio.NewWriter(c.OutOrStdout()),
			note:   func(text string) { fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", c.Root().Name(), text) },
		}
		err := w.run(c.Context())
		if errors.Is(err, errNoServer) {
			err = fmt.Errorf("no registry is running on %s", store.path)
		}
		return err
	}
	return c
}

// prefixOf returns the argument PREFIX, in canonical form where it is a name.
func prefixOf(args []string) string {
	if len(args) == 0 {
		return ""
	}
	if name, err := foyer.ParseName(args[0]); err == nil {
		return string(name)
	}
	return args[0]
}

// A watcher prints changes.
type watcher struct {
	client *adminClient
	prefix string
	json   bool
	all    bool
	out    *bufio.Writer
	note   func(string) // tells the user something

	last    string    // id
	heard   time.Time // when the registry was last heard
	missing string    // the id after which changes may be missing
	synced  bool      // what is registered already has been listed
}

// run prints changes until ctx ends. Its error is that of the first connection, or of
// the output.
func (w *watcher) run(ctx context.Context) error {
	for first, there := true, true; ; first = false {
		err := w.stream(ctx)
		if flushErr := w.out.Flush(); flushErr != nil {
			return flushErr
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			there = true
		case first:
			return err
		case there:
			w.note(err.Error() + "; waiting for it")
			there = false
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// stream prints changes as long as the registry sends them. Its error is that of
// connecting or of the output.
func (w *watcher) stream(ctx context.Context) error {
	query := url.Values{}
	if w.last != "" {
		query.Set("last_event_id", w.last)
	}
	body, err := w.client.do(ctx, http.MethodGet, "/v1/watch", query)
	if err != nil {
		return err
	}
	defer body.Close()
	in := bufio.NewReader(body)
	event, id, data := "", w.last, ""
	for {
		if in.Buffered() == 0 {
			if err := w.out.Flush(); err != nil {
				return err
			}
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // the registry has ended, is stuck, or has cut this off
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if event != "" {
				if err := w.print(event, id, []byte(data)); err != nil {
					return err
				}
			}
			w.last, w.heard = id, time.Now()
			event, data = "", ""
		}
	}
}

// print prints an event of the stream.
func (w *watcher) print(event, id string, data []byte) error {
	var c admin.Change // has the fields of an admin.Gone
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("the running registry sent %q: %w", data, err)
	}
	switch event {
	case "reset":
		if w.synced {
			w.missing = w.last
		}
		w.synced = false
		return w.mark(event)
	case "synced":
		w.synced = true
		if w.missing != "" {
			why := "it was restarted"
			if epoch, _, _ := strings.Cut(w.missing, "-"); strings.HasPrefix(id, epoch+"-") {
				why = "they came faster than this was read"
			}
			w.note(fmt.Sprintf("changes from %s to %s may be missing: %s", clockTime(w.heard), clockTime(time.Now()), why))
			w.missing = ""
		}
		return w.mark(event)
	}
	if c.Event == "" && event == "room" {
		if !w.all {
			return nil
		}
		c.Event, c.Time = "present", c.RegisteredAt
	}
	switch {
	case !strings.HasPrefix(string(c.Name), w.prefix):
		return nil
	case w.json && event == "gone":
		return w.encode(admin.Gone{Name: c.Name, Address: c.Address, Event: c.Event, Time: c.Time})
	case w.json:
		return w.encode(c)
	}
	_, err := fmt.Fprintf(w.out, "%s  %-12s  %-24s  %s\n", clockTime(c.Time), command.Printable(c.Event), command.Printable(string(c.Name)), command.Printable(string(c.Address)))
	return err
}

// mark tells those who keep a copy where they are.
func (w *watcher) mark(event string) error {
	if !w.all || !w.json {
		return nil
	}
	return w.encode(struct {
		Event string `json:"event"`
	}{event})
}

func (w *watcher) encode(v any) error { return newEncoder(w.out).Encode(v) }

func clockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
