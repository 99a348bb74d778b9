package admin

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"foyer/discovery"
)

// An Admin serves the HTTP interface of a registry.
type Admin struct {
	server  *discovery.Server
	view    discovery.View
	options Options
	metrics *metrics
	began   time.Time
	epoch   string // of the ids of changes: another with each process
	token   atomic.Pointer[[sha256.Size]byte]
	rates   rates
	watches chan struct{}   // holds one for each that watches over the network
	hosts   perHost         // the same
	ctx     context.Context // ends what would go on without end
}

// Options are what an Admin should know of its registry.
type Options struct {
	Log     *slog.Logger
	Version string
	Listen  []string // where it answers over UDP
	Host    string   // a name of this machine, by which it may be asked over the network; or empty
	Pprof   bool     // whether to serve profiles

	// Store says how the place is doing where the store is kept. It may be called
	// from any goroutine.
	Store func() Store

	// Backup says how the regular backups are doing, in the same way; it is nil if
	// there are none.
	Backup func() Backup

	// DNS returns how many queries were answered over DNS, by type and code; it is
	// nil if none are.
	DNS func() map[string]map[string]uint64

	Copier Copier
}

// New returns an Admin for a server on the store that view reads. What goes on without
// end, watching and measuring rates, ends when ctx does.
func New(ctx context.Context, server *discovery.Server, view discovery.View, o Options) *Admin {
	o.Host = strings.ToLower(o.Host)
	a := &Admin{server: server, view: view, options: o, metrics: newMetrics(server, &o), began: time.Now(), epoch: newEpoch(), ctx: ctx, watches: make(chan struct{}, maxWatches)}
	go a.sample(ctx)
	return a
}

// A route is a pattern of [http.ServeMux] and what answers it.
type route struct {
	pattern string
	handler http.HandlerFunc
}

// socketRoutes are on the Unix socket only: a copy is a file on this machine.
func (a *Admin) socketRoutes() []route {
	return []route{{"POST /v1/copy", a.serveCopy}}
}

// routes are all others. openapi.yaml describes each.
func (a *Admin) routes() []route {
	all := []route{
		{"GET /healthz", a.serveHealth},
		{"GET /readyz", a.serveReady},
		{"GET /metrics", a.metrics.handler(a.options.Log).ServeHTTP},
		{"GET /v1/rooms", a.serveRooms},
		{"GET /v1/rooms/{name}", withName(a.serveRoom)},
		{"DELETE /v1/rooms/{name}", withName(a.serveEvict)},
		{"GET /v1/rooms/{name}/events", withName(a.serveEvents)},
		{"GET /v1/holds", a.serveHolds},
		{"DELETE /v1/holds/{name}", withName(a.serveAllow)},
		{"GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.status()) }},
		{"GET /v1/rates", a.serveRates},
		{"GET /v1/watch", a.serveWatch},
		{"POST " + importPath, a.serveImport},
		{"POST /v1/compact", a.serveCompact},
		{"GET /openapi.yaml", serveDescription},
		{"GET /{$}", servePage},
		{"GET /assets/{file}", serveAssets},
	}
	if a.options.Pprof {
		all = append(all, route{"GET /debug/pprof/", serveProfile})
	}
	return all
}

func serveProfile(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

// Handler returns the interface for the Unix socket, where everything is allowed.
func (a *Admin) Handler() http.Handler {
	return a.metrics.count(handler(append(a.routes(), a.socketRoutes()...)))
}

// Public returns the interface for the network.
func (a *Admin) Public() http.Handler { return a.metrics.count(a.guard(handler(a.routes()))) }

func handler(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.pattern, r.handler)
	}
	return secure(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			serveUnknown(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}
