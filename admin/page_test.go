package admin

import (
	"mime"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// All that the page refers to is there and has its type, a browser that has it is told
// so, and nothing is of another host or against the page's own security policy.
func TestPageIsWhole(t *testing.T) {
	run(t, func(b *bench) {
		entries, err := page.ReadDir("page")
		if err != nil {
			t.Fatal(err)
		}
		types := map[string]string{".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
		refers := regexp.MustCompile(`(?:(?:from|import) "\./|"/assets/|url\("?)([^")]+)"?`)
		inline := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\sstyle=|\son[a-z]+=|javascript:`)
		elsewhere := regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+\.[a-z]`)
		for _, e := range entries {
			target := "/assets/" + e.Name()
			if e.Name() == "index.html" {
				target = "/"
			}
			w := httptest.NewRecorder()
			b.admin.Public().ServeHTTP(w, request("GET", target, "localhost"))
			text := w.Body.String()
			if got, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type")); w.Code != 200 || got != types[path.Ext(e.Name())] || text == "" {
				t.Errorf("%s: %d, %q of %d bytes", target, w.Code, got, len(text))
			}
			again := httptest.NewRecorder()
			b.admin.Public().ServeHTTP(again, request("GET", target, "localhost", "If-None-Match", w.Header().Get("ETag")))
			if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
				t.Errorf("%s again: %d", target, again.Code)
			}
			changed := httptest.NewRecorder()
			b.admin.Public().ServeHTTP(changed, request("GET", target, "localhost", "If-None-Match", `"of another version"`))
			if changed.Code != 200 || w.Header().Get("Cache-Control") != "no-cache" {
				t.Errorf("%s after an upgrade: %d, and is kept as %q", target, changed.Code, w.Header().Get("Cache-Control"))
			}
			for _, m := range refers.FindAllStringSubmatch(text, -1) {
				if _, err := page.ReadFile("page/" + m[1]); err != nil {
					t.Errorf("%s refers to %s: %v", e.Name(), m[1], err)
				}
			}
			if found := elsewhere.FindString(strings.ReplaceAll(text, "http://www.w3.org/", "")); found != "" {
				t.Errorf("%s refers to %s", e.Name(), found)
			}
			if found := inline.FindString(text); found != "" && strings.HasSuffix(e.Name(), ".html") {
				t.Errorf("%s has %q", e.Name(), found)
			}
		}
		for _, target := range []string{"/assets/nothing.js", "/assets/", "/assets/..%2Fpage.go"} {
			if status, _ := b.ask(b.admin.Public(), request("GET", target, "localhost")); status != 404 {
				t.Errorf("%s: %d", target, status)
			}
		}
	})
}
