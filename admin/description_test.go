package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"foyer/storage"
	"foyer/storage/storetest"
)

// A describer holds answers against openapi.yaml.
type describer struct {
	t     *testing.T
	doc   *openapi3.T
	mux   *http.ServeMux  // says which pattern a request is for
	asked map[string]bool // patterns
	seen  map[*openapi3.Schema]map[string]bool
}

func newDescriber(t *testing.T, routes []route) *describer {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err == nil {
		err = doc.Validate(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &describer{t, doc, http.NewServeMux(), map[string]bool{}, map[*openapi3.Schema]map[string]bool{}}
	for _, r := range routes {
		d.mux.HandleFunc(r.pattern, r.handler)
	}
	return d
}

// check holds an answer to a request against what is described.
func (d *describer) check(r *http.Request, w *httptest.ResponseRecorder) {
	d.t.Helper()
	_, pattern := d.mux.Handler(r)
	d.asked[strings.TrimSuffix(pattern, "{$}")] = true
	_, path, _ := strings.Cut(strings.TrimSuffix(pattern, "{$}"), " ")
	operation := d.doc.Paths.Value(path).GetOperation(r.Method)
	response := operation.Responses.Status(w.Code)
	if response == nil {
		response = operation.Responses.Default()
	}
	kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if len(response.Value.Content) == 0 {
		if w.Body.Len() > 0 {
			d.t.Errorf("%s %s: %d has a body: %s", r.Method, r.URL, w.Code, w.Body)
		}
		return
	}
	content := response.Value.Content[kind]
	if err != nil || content == nil {
		d.t.Errorf("%s %s: %d with a body of %q is not described: %s", r.Method, r.URL, w.Code, kind, w.Body)
		return
	}
	switch kind {
	case "application/json":
		d.checkJSON(content.Schema, w.Body.String())
	case "application/x-ndjson":
		for line := range strings.Lines(w.Body.String()) {
			d.checkJSON(content.Schema, line)
		}
	case "text/event-stream":
		schemas := content.Extensions["x-events"].(map[string]any)
		for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
			name, _, _ := strings.Cut(strings.TrimPrefix(event, "event: "), "\n")
			_, data, _ := strings.Cut(event, "\ndata: ")
			if schema, ok := schemas[name].(string); ok {
				d.checkJSON(d.doc.Components.Schemas[schema], data)
			} else if !strings.HasPrefix(event, ":") {
				d.t.Errorf("the event %q is not described", event)
			}
		}
	}
}

func (d *describer) checkJSON(schema *openapi3.SchemaRef, text string) {
	d.t.Helper()
	var value any
	err := json.Unmarshal([]byte(text), &value)
	if err == nil {
		err = schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation())
	}
	if err != nil {
		d.t.Errorf("%s: %v", text, err)
		return
	}
	known := map[string]bool{}
	d.see(schema.Value, value, known)
	if fields, ok := value.(map[string]any); ok {
		d.lacking(fields, known, text)
	}
}

// see notes which properties of a schema a value has, and adds those that it may have
// to known.
func (d *describer) see(s *openapi3.Schema, value any, known map[string]bool) {
	for _, part := range slices.Concat(s.AllOf, s.OneOf) {
		d.see(part.Value, value, known)
	}
	if d.seen[s] == nil {
		d.seen[s] = map[string]bool{}
	}
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			d.nested(s.Items, item)
		}
	case map[string]any:
		for name, property := range s.Properties {
			known[name] = true
			if field, ok := v[name]; ok {
				d.seen[s][name] = true
				d.nested(property, field)
			}
		}
	}
}

func (d *describer) nested(s *openapi3.SchemaRef, value any) {
	known := map[string]bool{}
	d.see(s.Value, value, known)
	if fields, ok := value.(map[string]any); ok {
		text, _ := json.Marshal(value)
		d.lacking(fields, known, string(text))
	}
}

func (d *describer) lacking(fields map[string]any, known map[string]bool, text string) {
	for name := range fields {
		if !known[name] {
			d.t.Errorf("the field %q is not described: %s", name, text)
		}
	}
}

// openapi.yaml describes every route and no other, and the answers to real requests
// have the fields that it describes, all of them and no other.
func TestDescription(t *testing.T) {
	run(t, func(b *bench) {
		b.admin.options.Pprof = true
		routes := append(b.admin.routes(), b.admin.socketRoutes()...)
		d := newDescriber(b.t, routes)
		var patterns, described []string
		for _, r := range routes {
			patterns = append(patterns, strings.TrimSuffix(r.pattern, "{$}"))
		}
		for path, item := range d.doc.Paths.Map() {
			for method := range item.Operations() {
				described = append(described, method+" "+path)
			}
		}
		slices.Sort(patterns)
		slices.Sort(described)
		if !slices.Equal(patterns, described) {
			b.t.Fatalf("there are the routes %q, and described are %q", patterns, described)
		}

		ask := func(method, target, body string, status int) {
			b.t.Helper()
			r := httptest.NewRequest(method, target, strings.NewReader(body))
			w := httptest.NewRecorder()
			b.admin.Handler().ServeHTTP(w, r)
			if w.Code != status {
				b.t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, status)
			}
			d.check(r, w)
		}

		ctx, cancel := context.WithCancel(b.t.Context())
		stream, watched := httptest.NewRecorder(), make(chan bool)
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/watch", nil)
		b.register("Foyer", "Hall")
		exits := base64.RawURLEncoding.EncodeToString([]byte("n:Hall\ns:a\ne:b\nw:c\nu:d\nd:e"))
		if got := b.send("@ttl=30;exits=" + exits + " REGISTER room://192.0.2.10:3 Study"); !strings.Contains(got, " OK") {
			b.t.Error(got)
		}
		go func() {
			b.admin.Handler().ServeHTTP(stream, r)
			close(watched)
		}()
		synctest.Wait()

		disk := uint64(1 << 40)
		b.store = Store{Path: "rooms.db", File: 1 << 20, Free: 4096, DiskFree: &disk}
		ask("GET", "/v1/rooms?limit=1", "", 200)
		ask("GET", "/v1/rooms?name=Hall", "", 200)
		ask("GET", "/v1/rooms?limit=x", "", 400)
		ask("GET", "/v1/rooms/Foyer", "", 200)
		ask("GET", "/v1/rooms/Attic", "", 404)
		backup := Backup{LastSuccessAt: b.server.Now(), LastError: "the disk is full", Failures: 1}
		b.admin.options.Backup = func() Backup { return backup }
		ask("GET", "/v1/status", "", 200)
		time.Sleep(2 * time.Second)
		ask("GET", "/v1/rates", "", 200)
		ask("GET", "/healthz", "", 200)
		ask("GET", "/readyz", "", 200)
		ask("DELETE", "/v1/rooms/Foyer?for=10m", "", 200)
		ask("DELETE", "/v1/rooms/Attic?for=10m", "", 200)
		ask("DELETE", "/v1/rooms/Cellar", "", 404)
		ask("GET", "/v1/rooms/Foyer/events", "", 200)
		ask("GET", "/v1/rooms/Cellar/events", "", 404)
		ask("GET", "/v1/holds", "", 200)
		ask("DELETE", "/v1/holds/Foyer", "", 204)
		ask("DELETE", "/v1/holds/Foyer", "", 404)
		const line = `{"name":"Cellar","address":"room://192.0.2.10:9","registered_at":"2026-01-31T20:15:04.123Z","ttl_seconds":60,"owner":""}` + "\n"
		ask("POST", "/v1/import", line, 200)
		ask("POST", "/v1/import", strings.Replace(line, ":9", ":10", 1), 200)
		ask("POST", "/v1/import", strings.Replace(line, ":9", ":10", 1)+strings.NewReplacer("Cellar", "Hall", ":9", ":11").Replace(line), 200)
		ask("POST", "/v1/compact", "", 200)
		b.copier.err = errors.New("the disk is full")
		ask("POST", "/v1/compact", "", 200)
		ask("POST", "/v1/copy", "", 200)
		b.copier.err = nil
		copied, leave := context.WithTimeout(b.t.Context(), 5*time.Second)
		defer leave()
		w := httptest.NewRecorder()
		asked := httptest.NewRequestWithContext(copied, "POST", "/v1/copy?check=pages", nil)
		b.admin.Handler().ServeHTTP(w, asked)
		d.check(asked, w)
		ask("GET", "/metrics", "", 200)
		ask("GET", "/openapi.yaml", "", 200)
		ask("GET", "/", "", 200)
		ask("GET", "/assets/style.css", "", 200)
		ask("GET", "/assets/main.js", "", 200)
		ask("GET", "/assets/icon.svg", "", 200)
		ask("GET", "/assets/index.htm", "", 404)
		ask("GET", "/debug/pprof/", "", 200)
		b.admin.options.Pprof = false
		ask("GET", "/debug/pprof/", "", 404)

		b.store = Store{Path: "rooms.db", Problem: "it is not there", DiskFree: new(uint64)}
		ask("GET", "/readyz", "", 503)
		ask("GET", "/v1/status", "", 200)
		b.model.Fail(storetest.Kept)
		if _, err := b.server.Evict(b.t.Context(), "Hall", 0); !errors.Is(err, storage.ErrUncertain) {
			b.t.Error(err)
		}
		ask("GET", "/healthz", "", 503)
		time.Sleep(2 * heartbeat)
		cancel()
		<-watched
		d.check(r, stream)

		for _, p := range patterns {
			if !d.asked[p] {
				b.t.Errorf("%s was not asked", p)
			}
		}
		for name, schema := range d.doc.Components.Schemas {
			for _, s := range append(schema.Value.AllOf, schema) {
				for property := range s.Value.Properties {
					if !d.seen[s.Value][property] {
						b.t.Errorf("%s of %s is described, and was not in any answer", property, name)
					}
				}
			}
		}
	})
}

// The events that are described are those that there are.
func TestDescribedEvents(t *testing.T) {
	d := newDescriber(t, nil)
	kinds := map[any]bool{"held": true}
	for k := storage.Kind(1); k.String() != "unknown"; k++ {
		kinds[k.String()] = true
	}
	described := map[any]bool{}
	for _, e := range d.doc.Components.Schemas["Event"].Value.Properties["event"].Value.Enum {
		described[e] = true
	}
	if !maps.Equal(kinds, described) {
		t.Errorf("there are %v, and described are %v", kinds, described)
	}
}
