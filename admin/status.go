package admin

import (
	"errors"
	"net/http"
	"time"

	"foyer"
)

// leastFree is how much of the disk must be free for the registry to be ready, in
// bytes: the database grows by a mebibyte at a time.
const leastFree = 16 << 20

// Status is the answer to GET /v1/status.
type Status struct {
	Version       string    `json:"version"`
	StartedAt     time.Time `json:"started_at"` // RFC 3339, UTC
	UptimeSeconds int64     `json:"uptime_seconds"`
	Listen        []string  `json:"listen"` // where it answers over UDP
	Rooms         int       `json:"rooms"`
	Leases        int       `json:"leases"` // rooms that must be heard of
	Holds         int       `json:"holds"`  // names that are held back
	Watchers      int       `json:"watchers"`
	Requests      Requests  `json:"requests_total"`
	Commits       uint64    `json:"commits_total"` // transactions that were written
	Writable      bool      `json:"writable"`      // the last transaction was written
	Ready         bool      `json:"ready"`
	Problem       string    `json:"problem,omitempty"` // one line: why it is not
	Store         Store     `json:"store"`
	Backup        *Backup   `json:"backup,omitempty"` // nil without regular backups
}

// Requests are how many requests were answered since the registry began, by verb.
type Requests struct {
	Lookup     uint64 `json:"lookup"`
	Register   uint64 `json:"register"`
	Renew      uint64 `json:"renew"`
	Deregister uint64 `json:"deregister"`
	Other      uint64 `json:"other"` // lines that were no requests
}

// Backup is how the regular backups are doing.
type Backup struct {
	LastSuccessAt time.Time `json:"last_success_at,omitzero"` // RFC 3339, UTC; zero if there is none
	LastError     string    `json:"last_error,omitempty"`     // why the last one failed, in one line
	Failures      int       `json:"failures"`                 // since the registry began
}

// Store is how the place is doing where the store is kept; sizes are in bytes.
type Store struct {
	Path     string  `json:"path"`
	File     int64   `json:"file_bytes"`
	Free     int64   `json:"free_bytes"`                // within the file, to be used again
	DiskFree *uint64 `json:"disk_free_bytes,omitempty"` // nil where the system does not say
	Problem  string  `json:"problem,omitempty"`         // why this cannot be said, in one line
}

func (a *Admin) status() Status {
	stats := a.server.Stats()
	done := totals(stats)
	s := Status{
		Version:       a.options.Version,
		StartedAt:     a.began.UTC().Truncate(time.Millisecond),
		UptimeSeconds: int64(time.Since(a.began) / time.Second),
		Listen:        a.options.Listen,
		Rooms:         stats.Registrations,
		Leases:        stats.Leases[len(stats.Leases)-1].N,
		Holds:         stats.Holds,
		Watchers:      a.server.Watches(),
		Requests:      Requests{done.Lookups, done.Registers, done.Renewals, done.Deregisters, done.Other},
		Commits:       done.Commits,
		Writable:      stats.Writable,
		Store:         a.options.Store(),
	}
	if a.options.Backup != nil {
		s.Backup = new(a.options.Backup())
	}
	if err := a.ready(&s.Store); err != nil {
		s.Problem = err.Error()
	}
	s.Ready = s.Problem == ""
	return s
}

var errNotWritable = errors.New("the store cannot be written")

// ready says why the registry cannot do all that it is asked to.
func (a *Admin) ready(store *Store) error {
	switch {
	case !a.server.Healthy():
		return errNotWritable
	case store.DiskFree != nil && *store.DiskFree < leastFree:
		return foyer.Errorf(foyer.Unavailable, "the disk of the store is full: %d KiB are free, %d should be", *store.DiskFree>>10, leastFree>>10)
	}
	return nil
}

func (a *Admin) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if !a.server.Healthy() {
		http.Error(w, errNotWritable.Error(), http.StatusServiceUnavailable)
		return
	}
	sayOK(w)
}

func (a *Admin) serveReady(w http.ResponseWriter, _ *http.Request) {
	store := a.options.Store()
	if err := a.ready(&store); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	sayOK(w)
}

func sayOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}
