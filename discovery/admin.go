package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"foyer"
)

// AdminHandler returns the admin interface, for the operator only:
//
//	GET  /healthz                      200, or 503 while the store cannot be written
//	GET  /registrations?prefix=PREFIX  by name, a [Row] on each line; all without prefix
//	GET  /held?prefix=PREFIX           names kept from being registered, a [Held] on each line
//	GET  /history?name=NAME            newest first, an [Entry] on each line; 404 if there is nothing
//	POST /evict?name=NAME[&for=10m]    an [Evicted]; 404 if there is nothing to do
//	POST /allow?name=NAME              204; 404 if the name is not held
//	POST /import                       a dump; lines of an [ImportAnswer]
//
// A failure is a status with one line of text.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.HealthHandler())
	mux.HandleFunc("GET /registrations", func(w http.ResponseWriter, r *http.Request) {
		writeLines(s, w, Rows(s.store, prefixParam(r)))
	})
	mux.HandleFunc("GET /held", func(w http.ResponseWriter, r *http.Request) {
		writeLines(s, w, HeldNames(s.store, prefixParam(r), s.clock.now()))
	})
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		if name, ok := nameParam(w, r); ok {
			writeLines(s, w, History(s.store, name, s.clock.now()))
		}
	})
	mux.HandleFunc("POST /evict", s.serveEvict)
	mux.HandleFunc("POST /allow", s.serveAllow)
	mux.HandleFunc("POST /import", s.serveImport)
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

// writeLines writes JSON, a line each. After the first line the status is sent,
// and an error breaks the connection: that is what is left.
func writeLines[T any](s *Server, w http.ResponseWriter, all iter.Seq2[T, error]) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, begun := json.NewEncoder(w), false
	for v, err := range all {
		switch {
		case err != nil && begun:
			s.log.Error("an answer to the operator broke off", "err", err)
			panic(http.ErrAbortHandler)
		case err != nil:
			adminError(w, err)
			return
		case out.Encode(v) != nil:
			return
		}
		begun = true
	}
}

func adminError(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	if errors.Is(err, foyer.ErrUnknownName) {
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

// Evicted is an [Eviction] as the admin interface writes it in JSON.
type Evicted struct {
	Ended *Row      `json:"ended"` // null if the name was not registered
	Until time.Time `json:"until,omitzero"`
}

// EvictedOf returns e as an Evicted.
func EvictedOf(e Eviction) Evicted {
	evicted := Evicted{Until: e.Until}
	if e.Ended != nil {
		row := RowOf(e.Ended)
		evicted.Ended = &row
	}
	return evicted
}

func (s *Server) serveEvict(w http.ResponseWriter, r *http.Request) {
	name, ok := nameParam(w, r)
	if !ok {
		return
	}
	hold := time.Duration(0)
	if text := r.URL.Query().Get("for"); text != "" {
		var err error
		if hold, err = time.ParseDuration(text); err != nil || hold <= 0 || hold > MaxHold {
			http.Error(w, fmt.Sprintf("%q is not how long a name can be held", text), http.StatusBadRequest)
			return
		}
	}
	e, err := s.Evict(r.Context(), name, hold)
	if errors.Is(err, foyer.ErrUnknownName) {
		err = NotRegistered(s.store, name)
	}
	if err != nil {
		adminError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(EvictedOf(e))
}

func (s *Server) serveAllow(w http.ResponseWriter, r *http.Request) {
	name, ok := nameParam(w, r)
	if !ok {
		return
	}
	held, err := s.Allow(r.Context(), name)
	switch {
	case err != nil:
		adminError(w, err)
	case !held:
		adminError(w, NotHeld(name))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func prefixParam(r *http.Request) foyer.Name { return foyer.Name(r.URL.Query().Get("prefix")) }

func nameParam(w http.ResponseWriter, r *http.Request) (foyer.Name, bool) {
	name, err := foyer.ParseName(r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return name, err == nil
}
