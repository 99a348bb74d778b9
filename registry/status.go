package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/command"
	"foyer/storage/bolt"
)

func statusCommand() *cobra.Command {
	format := "table"
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell how a registry is doing",
		Long: `Tell how the registry is doing that runs on a store. The exit status is 0 if it does
all that it is asked to, and 1 if it does not: a line on standard error says why. So it
serves as a container's health check. If no registry is running, what is in the file is
told, and the exit status is 1.

The formats: a table for people; json, one object: what GET /v1/status answers, with
running and, averages of the last ten seconds, requests_per_second and
commits_per_second.`,
	}
	store := addStoreFlag(c.Flags())
	c.Flags().StringVar(&format, "format", format, "table or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if format != "table" && format != "json" {
			return command.Usagef("invalid value %q for --format: it is table or json", format)
		}
		s := new(status)
		err := store.eitherWay(c.Context(), func(client *adminClient) (err error) {
			s.Running = true
			if s.Status, err = get[admin.Status](c.Context(), client, "/v1/status", nil); err != nil {
				return err
			}
			r, err := get[admin.Rates](c.Context(), client, "/v1/rates", nil)
			s.average(&r)
			return err
		}, func() (err error) {
			s, err = statusOfFile(store)
			return err
		})
		if err != nil {
			return err
		}
		print := s.print
		if format == "json" {
			print = s.printJSON
		}
		if err := print(c.OutOrStdout()); err != nil || s.Ready {
			return err
		}
		return errors.New(s.Problem)
	}
	return c
}

// A status is what is known of a registry.
type status struct {
	Running bool `json:"running"`
	admin.Status
	PerSecond        map[string]float64 `json:"requests_per_second"` // by verb
	CommitsPerSecond float64            `json:"commits_per_second"`
}

// averaged is how many of the last samples are averaged.
const averaged = 10

func (s *status) average(r *admin.Rates) {
	samples := r.Samples[max(0, len(r.Samples)-averaged):]
	var sum admin.Sample
	for _, x := range samples {
		sum.Lookups += x.Lookups
		sum.Registers += x.Registers
		sum.Renewals += x.Renewals
		sum.Deregisters += x.Deregisters
		sum.Other += x.Other
		sum.Commits += x.Commits
	}
	seconds := float64(max(1, r.IntervalSeconds*len(samples)))
	s.PerSecond = map[string]float64{
		"lookup": float64(sum.Lookups) / seconds, "register": float64(sum.Registers) / seconds, "renew": float64(sum.Renewals) / seconds,
		"deregister": float64(sum.Deregisters) / seconds, "other": float64(sum.Other) / seconds,
	}
	s.CommitsPerSecond = float64(sum.Commits) / seconds
}

// statusOfFile returns what the file of a registry that is not running tells.
func statusOfFile(store *storeFlag) (*status, error) {
	file, err := bolt.OpenReadOnly(store.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	s := &status{Status: admin.Status{Problem: "no registry is running on " + store.path, Store: usage(file, store)}}
	for row, err := range discovery.Rows(file, "") {
		if err != nil {
			return nil, err
		}
		s.Rooms++
		if row.TTLSeconds > 0 {
			s.Leases++
		}
	}
	for _, err := range discovery.HeldNames(file, "", wallOf(file)) {
		if err != nil {
			return nil, err
		}
		s.Holds++
	}
	return s, nil
}

func (s *status) printJSON(w io.Writer) error {
	out := newEncoder(w)
	if s.Running {
		return out.Encode(s)
	}
	return out.Encode(struct {
		Running bool        `json:"running"`
		Ready   bool        `json:"ready"`
		Problem string      `json:"problem"`
		Rooms   int         `json:"rooms"`
		Leases  int         `json:"leases"`
		Holds   int         `json:"holds"`
		Store   admin.Store `json:"store"`
	}{s.Running, s.Ready, s.Problem, s.Rooms, s.Leases, s.Holds, s.Store})
}

// print prints a screen for people.
func (s *status) print(w io.Writer) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, command.Printable(fmt.Sprintf(format, args...)))
	}
	switch {
	case !s.Running:
		line("health", "not running")
	case s.Ready:
		line("health", "ready")
	default:
		line("health", "not ready: %s", s.Problem)
	}
	line("rooms", "%d, of them with a lease %d", s.Rooms, s.Leases)
	line("holds", "%d", s.Holds)
	if s.Running {
		total, verbs := 0.0, []string{}
		for _, verb := range []string{"lookup", "register", "renew", "deregister", "other"} {
			total += s.PerSecond[verb]
			verbs = append(verbs, fmt.Sprintf("%s %.1f", verb, s.PerSecond[verb]))
		}
		line("requests", "%.1f/s: %s", total, strings.Join(verbs, ", "))
		line("commits", "%.1f/s", s.CommitsPerSecond)
		line("watchers", "%d", s.Watchers)
	}
	if s.Store.Problem != "" {
		line("file", "%s: %s", s.Store.Path, s.Store.Problem)
	} else {
		free := ""
		if s.Store.DiskFree != nil {
			free = fmt.Sprintf("; %s free on its disk", byteSize(int64(*s.Store.DiskFree)))
		}
		line("file", "%s: %s, %s of it free%s", s.Store.Path, byteSize(s.Store.File), byteSize(s.Store.Free), free)
	}
	if b := s.Backup; b != nil {
		text := "none yet"
		if !b.LastSuccessAt.IsZero() {
			text = fmt.Sprintf("the last %s ago, at %s", time.Since(b.LastSuccessAt).Round(time.Second), clockTime(b.LastSuccessAt))
		}
		if b.LastError != "" {
			text += "; failed since: " + b.LastError
		}
		line("backups", "%s", text)
	}
	if s.Running {
		line("listening", "%s", strings.Join(s.Listen, ", "))
		line("uptime", "%s, since %s", time.Duration(s.UptimeSeconds)*time.Second, clockTime(s.StartedAt))
		line("version", "%s", s.Version)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// byteSize is a size as people read it.
func byteSize(n int64) string {
	size, unit := float64(n)/(1<<10), "KiB"
	for _, larger := range []string{"MiB", "GiB", "TiB"} {
		if size < 1<<10 {
			break
		}
		size, unit = size/(1<<10), larger
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
