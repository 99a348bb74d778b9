package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"foyer"
)

// Codes of failures for which the protocol has none.
const (
	NotFound  foyer.Code = "not-found" // no such path, or not with that method
	Forbidden foyer.Code = "forbidden" // not for whoever asks, or not in this way
)

// An Error is the answer to a request that failed.
type Error struct {
	Error struct {
		Code    foyer.Code `json:"code"`
		Message string     `json:"message"` // one line
	} `json:"error"`
}

// statuses are those of codes; of others it is 503.
var statuses = map[foyer.Code]int{
	foyer.Malformed:    http.StatusBadRequest,
	foyer.BadName:      http.StatusBadRequest,
	foyer.Unauthorized: http.StatusUnauthorized,
	Forbidden:          http.StatusForbidden,
	NotFound:           http.StatusNotFound,
	foyer.UnknownName:  http.StatusNotFound,
	foyer.TooLarge:     http.StatusRequestEntityTooLarge,
	foyer.Busy:         http.StatusTooManyRequests,
}

// Fail answers a request with an error. One that is not a [*foyer.Error] is a failure
// of the storage.
func Fail(w http.ResponseWriter, err error) {
	code, message := foyer.Unavailable, err.Error()
	if coded, ok := errors.AsType[*foyer.Error](err); ok {
		code = coded.Code
	}
	status := statuses[code]
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	failWith(w, status, code, message)
}

func failWith(w http.ResponseWriter, status int, code foyer.Code, message string) {
	var e Error
	e.Error.Code, e.Error.Message = code, message
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// serveUnknown answers what no handler is for: mux says whether the path or the
// method is wrong.
func serveUnknown(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	refused := &statusWriter{header: w.Header(), status: http.StatusNotFound}
	mux.ServeHTTP(refused, r)
	if refused.status < 400 { // a redirection to the clean path
		w.WriteHeader(refused.status)
		return
	}
	failWith(w, refused.status, NotFound, "there is no "+r.Method+" "+r.URL.Path)
}

// A statusWriter keeps the status and the header of an answer only.
type statusWriter struct {
	header http.Header
	status int
}

// Header, WriteHeader and Write implement [http.ResponseWriter].
func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) WriteHeader(status int)      { w.status = status }
func (w *statusWriter) Write(b []byte) (int, error) { return len(b), nil }
