package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"foyer"
	"foyer/discovery"
)

// A page has defaultPage rooms if the request does not say how many, and MaxRooms at
// most: so many see one state of the store, and a transaction waits for one page.
const (
	defaultPage = 100
	MaxRooms    = 1000
	mostNames   = 100 // that a request can ask for one by one
)

// Rooms is the answer to GET /v1/rooms.
type Rooms struct {
	Rooms []discovery.Row `json:"rooms"`
	Next  foyer.Name      `json:"next,omitempty"` // if there are more: where to go on after
}

func (a *Admin) serveRooms(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if names := query["name"]; len(names) > 0 {
		a.serveNamed(w, names)
		return
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	switch {
	case query.Get("limit") == "":
		limit = defaultPage
	case err != nil || limit < 1:
		Fail(w, foyer.Errorf(foyer.Malformed, "%q is not how many rooms a page can have", query.Get("limit")))
		return
	}
	limit = min(limit, MaxRooms)
	page := Rooms{Rooms: make([]discovery.Row, 0, limit)}
	for reg, err := range discovery.Registrations(a.view, prefixOf(r), foyer.Name(query.Get("after")), limit+1) {
		if err != nil {
			Fail(w, err)
			return
		}
		if len(page.Rooms) == limit {
			page.Next = page.Rooms[limit-1].Name
			break
		}
		page.Rooms = append(page.Rooms, a.server.Row(&reg))
	}
	answer(w, page)
}

func (a *Admin) serveNamed(w http.ResponseWriter, names []string) {
	if len(names) > mostNames {
		Fail(w, foyer.Errorf(foyer.Malformed, "at most %d names at a time", mostNames))
		return
	}
	found := Rooms{Rooms: []discovery.Row{}}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		reg, err := a.view.Find([]byte(name))
		switch {
		case err == nil:
			found.Rooms = append(found.Rooms, a.server.Row(&reg))
		case !errors.Is(err, foyer.ErrUnknownName):
			Fail(w, err)
			return
		}
	}
	answer(w, found)
}

func (a *Admin) serveRoom(w http.ResponseWriter, _ *http.Request, name foyer.Name) {
	reg, err := a.view.Find([]byte(name))
	if errors.Is(err, foyer.ErrUnknownName) {
		err = discovery.NotRegistered(a.view, name)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	answer(w, a.server.Row(&reg))
}

// Events is the answer to GET /v1/rooms/{name}/events.
type Events struct {
	Events []discovery.Entry `json:"events"` // newest first
}

func (a *Admin) serveEvents(w http.ResponseWriter, _ *http.Request, name foyer.Name) {
	var all Events
	for e, err := range discovery.History(a.view, name, a.server.Now()) {
		if err != nil {
			Fail(w, err)
			return
		}
		all.Events = append(all.Events, e)
	}
	answer(w, all)
}

// Holds is the answer to GET /v1/holds.
type Holds struct {
	Holds []discovery.Held `json:"holds"` // by name
}

func (a *Admin) serveHolds(w http.ResponseWriter, r *http.Request) {
	all := Holds{Holds: []discovery.Held{}}
	for h, err := range discovery.HeldNames(a.view, prefixOf(r), a.server.Now()) {
		if err != nil {
			Fail(w, err)
			return
		}
		all.Holds = append(all.Holds, h)
	}
	answer(w, all)
}

func (a *Admin) serveEvict(w http.ResponseWriter, r *http.Request, name foyer.Name) {
	hold := time.Duration(0)
	if text := r.URL.Query().Get("for"); text != "" {
		var err error
		if hold, err = time.ParseDuration(text); err != nil || hold <= 0 || hold > discovery.MaxHold {
			Fail(w, foyer.Errorf(foyer.Malformed, "%q is not how long a name can be held back", text))
			return
		}
	}
	e, err := a.server.Evict(r.Context(), name, hold)
	if errors.Is(err, foyer.ErrUnknownName) {
		err = discovery.NotRegistered(a.view, name)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	answer(w, discovery.EvictedOf(e))
}

func (a *Admin) serveAllow(w http.ResponseWriter, r *http.Request, name foyer.Name) {
	held, err := a.server.Allow(r.Context(), name)
	if err == nil && !held {
		err = discovery.NotHeld(name)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

const importPath = "/v1/import"

// ImportAnswer is a line of the answer to POST /v1/import: one a second while it
// takes, with nothing, and the last one.
type ImportAnswer struct {
	discovery.Imported
	Done  bool   `json:"done"`
	Line  int    `json:"line,omitempty"`  // of the dump, that Error is about
	Error string `json:"error,omitempty"` // why not all was imported

	// If several lines are in conflict with the store, the first of them.
	Conflicts []discovery.Conflict `json:"conflicts,omitempty"`
}

func (a *Admin) serveImport(w http.ResponseWriter, r *http.Request) {
	answers := make(chan ImportAnswer, 1)
	d, err := discovery.ReadDump(r.Body)
	_, _ = io.Copy(io.Discard, r.Body) // who has sent it all gets to read the answer
	go func() {
		var done discovery.Imported
		if err == nil {
			done, err = a.server.Import(r.Context(), d)
		}
		answers <- answerTo(done, err)
	}()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case a := <-answers:
			_ = out.Encode(a)
			return
		case <-second.C:
			_ = out.Encode(ImportAnswer{})
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func answerTo(done discovery.Imported, err error) ImportAnswer {
	a := ImportAnswer{Imported: done, Done: true}
	if refused, ok := errors.AsType[*discovery.LineError](err); ok {
		a.Line, a.Conflicts, err = refused.Line, refused.Conflicts, refused.Err
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// prefixOf returns the parameter prefix, in canonical form where it is a name.
func prefixOf(r *http.Request) foyer.Name {
	prefix := r.URL.Query().Get("prefix")
	if name, err := foyer.ParseName(prefix); err == nil {
		return name
	}
	return foyer.Name(prefix)
}

// withName is a handler of a path with a name.
func withName(h func(http.ResponseWriter, *http.Request, foyer.Name)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, err := foyer.ParseName(r.PathValue("name"))
		if err != nil {
			Fail(w, err)
			return
		}
		h(w, r, name)
	}
}
