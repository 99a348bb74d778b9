package discovery

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"foyer/room"
	"foyer/storage"
)

// A Row is a registration as `registry dump` and the admin interface write it
// in JSON.
type Row struct {
	Name         room.Name    `json:"name"`
	Address      room.Address `json:"address"`
	RegisteredAt time.Time    `json:"registered_at"` // RFC 3339, UTC
	TTLSeconds   int64        `json:"ttl_seconds"`   // 0 without a lease
	Owner        string       `json:"owner"`         // public key in base64url, or empty
	From         string       `json:"from"`          // IP address that registered it
}

// RowOf returns r as a Row.
func RowOf(r *room.Registration) Row {
	row := Row{
		Name:         r.Name,
		Address:      r.Address,
		RegisteredAt: r.RegisteredAt,
		TTLSeconds:   int64(r.TTL / time.Second),
		Owner:        r.Owner.String(),
	}
	if r.From.IsValid() {
		row.From = r.From.String()
	}
	return row
}

// An Entry is one event of a name's history as `registry explain` and the admin
// interface write it in JSON.
type Entry struct {
	Time       time.Time    `json:"time"`  // RFC 3339, UTC
	Event      string       `json:"event"` // see [storage.Kind]
	Address    room.Address `json:"address"`
	TTLSeconds int64        `json:"ttl_seconds"`
	Owner      string       `json:"owner"`
	From       string       `json:"from"` // whose request it was; empty for the registry and its operator
}

// EntryOf returns e as an Entry.
func EntryOf(e *storage.Event) Entry {
	entry := Entry{
		Time:       e.Time,
		Event:      e.Kind.String(),
		Address:    e.Registration.Address,
		TTLSeconds: int64(e.Registration.TTL / time.Second),
		Owner:      e.Registration.Owner.String(),
	}
	if e.From.IsValid() {
		entry.From = e.From.String()
	}
	return entry
}

// DumpPage is how many registrations are read from a store at a time for a
// dump: so many see one state, and no transaction stays open in between, which
// would keep a bbolt file growing.
const DumpPage = 1024

// AdminHandler returns the admin interface, for the operator only:
//
//	GET  /healthz             200, or 503 while the store cannot be written
//	GET  /registrations       all of them by name, a [Row] on each line
//	GET  /history?name=NAME   newest first, an [Entry] on each line
//	POST /evict?name=NAME     204, 404 if there is no such name
//
// A failure is a status with one line of text.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.HealthHandler())
	mux.HandleFunc("GET /registrations", s.serveRegistrations)
	mux.HandleFunc("GET /history", s.serveHistory)
	mux.HandleFunc("POST /evict", s.serveEvict)
	return mux
}

// HealthHandler returns the part of the admin interface that is for everybody:
// GET /healthz.
func (s *Server) HealthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Healthy() {
			http.Error(w, "the store cannot be written", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

const jsonLines = "application/x-ndjson"

func (s *Server) serveRegistrations(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonLines)
	out := json.NewEncoder(w)
	for reg, err := range storage.All(s.store, DumpPage) {
		if err != nil {
			s.log.Error("a dump failed", "err", err)
			// The status is sent: breaking the connection is what is left.
			panic(http.ErrAbortHandler)
		}
		if out.Encode(RowOf(&reg)) != nil {
			return
		}
	}
}

func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) {
	name, ok := nameParam(w, r)
	if !ok {
		return
	}
	events, err := s.store.History(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", jsonLines)
	out := json.NewEncoder(w)
	for i := range events {
		if out.Encode(EntryOf(&events[i])) != nil {
			return
		}
	}
}

func (s *Server) serveEvict(w http.ResponseWriter, r *http.Request) {
	name, ok := nameParam(w, r)
	if !ok {
		return
	}
	switch err := s.Evict(r.Context(), name); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, room.ErrUnknownName):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func nameParam(w http.ResponseWriter, r *http.Request) (room.Name, bool) {
	name, err := room.ParseName(r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return name, err == nil
}
