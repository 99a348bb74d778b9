package admin

import (
	_ "embed"
	"net/http"
)

// description is the API in OpenAPI 3.1.
//
//go:embed openapi.yaml
var description []byte

func serveDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(description)
}
