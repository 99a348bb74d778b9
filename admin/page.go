package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"net/http"
	"path"
	"time"
)

// The page and what it is made of, which is all that it needs.
//
//go:embed page
var page embed.FS

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func servePage(w http.ResponseWriter, r *http.Request) { serveAsset(w, r, "index.html") }

func serveAssets(w http.ResponseWriter, r *http.Request) { serveAsset(w, r, r.PathValue("file")) }

// serveAsset serves a file of the page. A browser keeps it, and asks each time whether
// it is still the same: after an upgrade nothing of before is shown.
func serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	b, err := page.ReadFile("page/" + name)
	if err != nil {
		failWith(w, http.StatusNotFound, NotFound, "there is no "+r.Method+" "+r.URL.Path)
		return
	}
	header := w.Header()
	header.Set("Content-Type", contentTypes[path.Ext(name)])
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}
