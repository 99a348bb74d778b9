package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer/discovery"
)

func TestHandler(t *testing.T) {
	run(t, func(b *bench) {
		b.register("Foyer", "Fountain", "Hall", "A/B", "..")
		for _, c := range []struct {
			method, target string
			status         int
			want           []string // in this order
		}{
			{"GET", "/v1/rooms", 200, []string{`{"rooms":[{"name":".."`, `"A/B"`, `"Fountain"`, `"Foyer"`, `"Hall"`, `"last_heard_at":"2000-01-01T00:00:00Z"}]}`}},
			{"GET", "/v1/rooms?prefix=Fo", 200, []string{`"Fountain"`, `"Foyer"`}},
			{"GET", "/v1/rooms?prefix=Foyer", 200, []string{`"Foyer"`}},
			{"GET", "/v1/rooms?prefix=X", 200, []string{`{"rooms":[]}`}},
			{"GET", "/v1/rooms?limit=2", 200, []string{`"A/B"`, `"next":"A/B"}`}},
			{"GET", "/v1/rooms?limit=2&after=A/B", 200, []string{`{"rooms":[{"name":"Fountain"`, `"Foyer"`, `"next":"Foyer"}`}},
			{"GET", "/v1/rooms?limit=2&after=Fountain&prefix=Fo", 200, []string{`{"rooms":[{"name":"Foyer"`, `]}`}},
			{"GET", "/v1/rooms?after=Hall", 200, []string{`{"rooms":[]}`}},
			{"GET", "/v1/rooms?limit=0", 400, []string{`"malformed"`, `\"0\" is not how many`}},
			{"GET", "/v1/rooms?name=Hall&name=Attic&name=Foyer&name=Hall", 200, []string{`{"rooms":[{"name":"Foyer"`, `"Hall"`, `]}`}},
			{"GET", "/v1/rooms?name=a" + strings.Repeat("&name=a", 100), 400, []string{`at most 100 names`}},
			{"GET", "/v1/rooms/A%2FB", 200, []string{`{"name":"A/B","address":"room://192.0.2.10:4"`}},
			{"GET", "/v1/rooms/%2E%2E", 200, []string{`{"name":".."`}},
			{"GET", "/v1/rooms/foyer", 404, []string{`"unknown-name"`, `no room of the name \"foyer\" is registered; \"Foyer\" is registered`}},
			{"GET", "/v1/rooms/%00", 400, []string{`"bad-name"`}},
			{"DELETE", "/v1/rooms/Attic", 404, []string{`no room of the name \"Attic\" is registered`}},
			{"DELETE", "/v1/rooms/Foyer?for=soon", 400, []string{`soon`}},
			{"DELETE", "/v1/rooms/Foyer?for=-5s", 400, []string{`-5s`}},
			{"DELETE", "/v1/rooms/Foyer?for=10m", 200, []string{`{"ended":{"name":"Foyer","address":"room://192.0.2.10:1"`}},
			{"DELETE", "/v1/rooms/Attic?for=10m", 200, []string{`{"ended":null,"until":"`}},
			{"DELETE", "/v1/rooms/Hall", 200, []string{`"from":"192.0.2.10"}}`}},
			{"GET", "/v1/rooms?prefix=F", 200, []string{`"Fountain"`, `]}`}},
			{"GET", "/v1/holds", 200, []string{`{"holds":[{"name":"Attic","since":"`, `{"name":"Foyer","since":"`}},
			{"GET", "/v1/holds?prefix=F", 200, []string{`{"holds":[{"name":"Foyer","since":"`}},
			{"GET", "/v1/holds?prefix=X", 200, []string{`{"holds":[]}`}},
			{"GET", "/v1/rooms/Foyer/events", 200, []string{`"event":"held"`, `"event":"evicted"`, `"event":"registered"`}},
			{"GET", "/v1/rooms/Attic/events", 200, []string{`"until":"`}},
			{"GET", "/v1/rooms/hall/events", 404, []string{`nothing is known of the name \"hall\"`}},
			{"GET", "/v1/rooms/fountain/events", 404, []string{`nothing is known of the name \"fountain\"; \"Fountain\" is registered`}},
			{"DELETE", "/v1/holds/Foyer", 204, nil},
			{"DELETE", "/v1/holds/Foyer", 404, []string{`the name \"Foyer\" is not held back`}},
			{"GET", "/v1/nothing", 404, []string{`"not-found"`, `there is no GET /v1/nothing`}},
			{"POST", "/v1/rooms", 405, []string{`"not-found"`}},
			{"GET", "/debug/pprof/", 404, []string{`"not-found"`}},
			{"GET", "/openapi.yaml", 200, []string{"openapi: 3.1"}},
			{"GET", "/healthz", 200, []string{"ok"}},
			{"GET", "/readyz", 200, []string{"ok"}},
		} {
			status, body := b.ask(b.admin.Handler(), httptest.NewRequest(c.method, c.target, nil))
			if status != c.status || strings.HasPrefix(body, "{") && !json.Valid([]byte(body)) {
				t.Errorf("%s %s: %d %s", c.method, c.target, status, body)
			}
			rest := body
			for _, part := range c.want {
				i := strings.Index(rest, part)
				if i < 0 {
					t.Errorf("%s %s: %s; want %s in %s", c.method, c.target, body, part, rest)
					break
				}
				rest = rest[i+len(part):]
			}
		}
	})
}

// How long a lease runs and when the room was last heard are those of its renewals.
func TestLeaseOfRoom(t *testing.T) {
	run(t, func(b *bench) {
		b.register("Foyer")
		b.send("REGISTER room://192.0.2.10:2 Hall")
		room := func(name string) (r discovery.Row) {
			_, body := b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/v1/rooms/"+name, nil))
			if err := json.Unmarshal([]byte(body), &r); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			return r
		}
		about := func(got, want time.Duration) bool { return got > want-time.Second && got < want+time.Second }
		time.Sleep(20 * time.Second)
		if r := room("Foyer"); !about(time.Duration(*r.LeaseRemaining), 10*time.Second) || !about(time.Since(r.LastHeardAt), 20*time.Second) {
			t.Errorf("before it is renewed %v, %v", *r.LeaseRemaining, r.LastHeardAt)
		}
		b.send("@x= RENEW room://192.0.2.10:1 Foyer")
		time.Sleep(5 * time.Second)
		if r := room("Foyer"); !about(time.Duration(*r.LeaseRemaining), 25*time.Second) || !about(time.Since(r.LastHeardAt), 5*time.Second) {
			t.Errorf("after it was renewed %v, %v", *r.LeaseRemaining, r.LastHeardAt)
		}
		if r := room("Hall"); r.LeaseRemaining != nil || !r.LastHeardAt.IsZero() {
			t.Errorf("without a lease %+v", r)
		}
	})
}

func TestImport(t *testing.T) {
	line := func(name, address string) string {
		return `{"name":"` + name + `","address":"` + address + `","registered_at":"2026-01-31T20:15:04.123Z","ttl_seconds":60,"owner":""}` + "\n"
	}
	run(t, func(b *bench) {
		for _, c := range [][2]string{
			{line("Foyer", "room://192.0.2.10:1"), `{"new":1,"known":0,"done":true}`},
			{line("Foyer", "room://192.0.2.10:1"), `{"new":0,"known":1,"done":true}`},
			{line("Foyer", "room://192.0.2.10:2"), `{"new":0,"known":0,"done":true,"line":1,"error":"\"Foyer\" is registered already, at room://192.0.2.10:1"}`},
			{"{", `{"new":0,"known":0,"done":true,"line":1,"error":"it is neither JSON nor CSV as ` + "`registry dump --format`" + ` prints them: unexpected end of JSON input"}`},
		} {
			status, got := b.ask(b.admin.Handler(), httptest.NewRequest("POST", "/v1/import", strings.NewReader(c[0])))
			if status != 200 || got != c[1] {
				t.Errorf("%q got %d, %s, want %s", c[0], status, got, c[1])
			}
		}
	})
}

// Over the network whoever reaches it may read, under a name of the machine's only;
// changes need the token, and never come from a page of another site.
func TestGuard(t *testing.T) {
	const token = "0123456789abcdef"
	run(t, func(b *bench) {
		b.register("Foyer", "Hall", "Attic")
		for _, c := range []struct {
			token        string // that is set
			method, host string
			headers      []string
			status       int
		}{
			{"", "GET", "127.0.0.1:7667", nil, 200},
			{"", "GET", "localhost", nil, 200},
			{"", "GET", "LOCALHOST:7667", nil, 200},
			{"", "GET", "[::1]:7667", nil, 200},
			{"", "GET", "[::1]", nil, 200},
			{"", "GET", "192.0.2.1:7667", nil, 200},
			{"", "GET", "[::ffff:192.0.2.1]:7667", nil, 200},
			{"", "GET", "registry.example:7667", nil, 200},
			{"", "GET", "192.0.2.2:7667", nil, 403},
			{"", "GET", "rebound.example:7667", nil, 403},
			{"", "GET", "localhost.example", nil, 403},
			{"", "GET", "", nil, 403},
			{"", "GET", "127.0.0.1", []string{"Sec-Fetch-Site", "cross-site"}, 200}, // the browser keeps the answer
			{"", "DELETE", "127.0.0.1", nil, 403},
			{"", "DELETE", "127.0.0.1", []string{"Authorization", "Bearer "}, 403},
			{token, "DELETE", "127.0.0.1", nil, 401},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Bearer "}, 401},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", token}, 401},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Bearer " + token + "x"}, 401},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Basic " + token}, 401},
			{token, "DELETE", "rebound.example", []string{"Authorization", "Bearer " + token}, 403},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "cross-site"}, 403},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Bearer " + token, "Origin", "http://evil.example"}, 403},
			{token, "DELETE", "127.0.0.1", []string{"Authorization", "Bearer " + token, "Origin", "http://127.0.0.1"}, 200},
		} {
			b.admin.SetToken(c.token)
			status, body := b.ask(b.admin.Public(), request(c.method, "/v1/rooms/Foyer", c.host, c.headers...))
			if status != c.status {
				t.Errorf("%s at %q with %q: %d %s", c.method, c.host, c.headers, status, body)
			}
		}
		// The way to the token is not open to whoever is refused.
		if status, _ := b.ask(b.admin.Public(), request("DELETE", "/v1/rooms/Hall", "127.0.0.1")); status != 401 {
			t.Errorf("without a token %d", status)
		}
		b.admin.SetToken("")
		if status, _ := b.ask(b.admin.Public(), request("DELETE", "/v1/rooms/Hall", "127.0.0.1", "Authorization", "Bearer "+token)); status != 403 {
			t.Errorf("with a token that is not good any more %d", status)
		}
		if got := b.send("@x= LOOKUP Hall"); !strings.Contains(got, " OK") {
			t.Errorf("what was refused was done: %s", got)
		}
	})
}

// The database is compacted by whoever has the token, and a copy, which is a file, made on
// the socket only.
func TestCopiesAreForTheSocket(t *testing.T) {
	run(t, func(b *bench) {
		b.admin.SetToken("0123456789abcdef")
		b.copier.err = errors.New("asked")
		post := func(h http.Handler, path string, headers ...string) int {
			status, _ := b.ask(h, request("POST", path, "127.0.0.1", headers...))
			return status
		}
		bearer := []string{"Authorization", "Bearer 0123456789abcdef"}
		for path, want := range map[string][3]int{"/v1/compact": {401, 200, 200}, "/v1/copy": {401, 404, 200}} {
			if got := [3]int{post(b.admin.Public(), path), post(b.admin.Public(), path, bearer...), post(b.admin.Handler(), path)}; got != want {
				t.Errorf("%s: %d, want %d", path, got, want)
			}
		}
	})
}

// What a browser must know is said with every answer, also of a failure.
func TestHeaders(t *testing.T) {
	run(t, func(b *bench) {
		for _, target := range []string{"/v1/rooms", "/v1/nothing", "/healthz"} {
			w := httptest.NewRecorder()
			b.admin.Public().ServeHTTP(w, request("GET", target, "localhost"))
			policy := w.Header().Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" ||
				w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %v", target, w.Header())
			}
		}
	})
}

func TestReady(t *testing.T) {
	run(t, func(b *bench) {
		for _, c := range []struct {
			free   *uint64
			status int
		}{{nil, 200}, {new(uint64(leastFree)), 200}, {new(uint64(leastFree - 1)), 503}} {
			b.store.DiskFree = c.free
			status, body := b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/readyz", nil))
			if status != c.status {
				t.Errorf("%v: %d %s", c.free, status, body)
			}
			var s Status
			_, body = b.ask(b.admin.Handler(), httptest.NewRequest("GET", "/v1/status", nil))
			if err := json.Unmarshal([]byte(body), &s); err != nil || s.Ready != (status == 200) || s.Ready != (s.Problem == "") || !s.Writable {
				t.Errorf("%v: %s, %v", c.free, body, err)
			}
		}
	})
}

// Each second says what was done in it, and all of them together no more than the
// totals.
func TestRates(t *testing.T) {
	run(t, func(b *bench) {
		get := func(target string, v any) {
			_, body := b.ask(b.admin.Handler(), httptest.NewRequest("GET", target, nil))
			if err := json.Unmarshal([]byte(body), v); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
		}
		var all Rates
		if get("/v1/rates", &all); all.Samples == nil || len(all.Samples) != 0 || all.IntervalSeconds != 1 {
			t.Errorf("at first %+v", all)
		}
		time.Sleep(time.Second + time.Millisecond)
		b.register("Foyer", "Hall")
		b.send("@x= LOOKUP Foyer")
		b.send("@x= RENEW room://192.0.2.10:1 Foyer")
		b.send("@x= HELLO")
		time.Sleep(time.Second)
		b.send("@x= DEREGISTER Hall")
		time.Sleep(time.Second)
		get("/v1/rates", &all)
		var sums []Sample
		for _, s := range all.Samples {
			s.Time = time.Time{}
			sums = append(sums, s)
		}
		want := []Sample{{}, {Lookups: 1, Registers: 2, Renewals: 1, Other: 1, Commits: 2}, {Deregisters: 1, Commits: 1}}
		if !slices.Equal(sums, want) || all.Samples[2].Time.Sub(all.Samples[1].Time) != time.Second {
			t.Errorf("%+v, want %+v", all.Samples, want)
		}
		var s Status
		get("/v1/status", &s)
		if (s.Requests != Requests{1, 2, 1, 1, 1}) || s.Commits != 3 || s.Rooms != 1 || s.Leases != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Hour)
		if get("/v1/rates", &all); len(all.Samples) != ratesKept {
			t.Errorf("%d samples after an hour", len(all.Samples))
		}
	})
}
