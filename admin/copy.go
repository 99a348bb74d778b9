package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A Copier copies the database of a registry while that runs. progress is told how many
// bytes are written, of about how many; it is called from one goroutine.
type Copier interface {
	// Copy makes a copy beside the database, calls use with its path, and removes it.
	Copy(ctx context.Context, progress func(done, of int64), use func(path string) error) error
	// CheckPages returns an error if the database is damaged where a copy does not show it.
	CheckPages() error
	// Compact makes the file as small as it can be, and returns its sizes in bytes.
	Compact(ctx context.Context, progress func(done, of int64)) (before, after int64, err error)
}

// CopyProgress is a line of the answer to POST /v1/copy and /v1/compact: one a second,
// and one when it is over.
type CopyProgress struct {
	Bytes int64  `json:"bytes"`           // written so far
	Of    int64  `json:"of"`              // of about so many
	Done  bool   `json:"done,omitempty"`  // this is the last line
	Name  string `json:"name,omitempty"`  // of the copy, beside the database
	Error string `json:"error,omitempty"` // why it was not done

	Before int64 `json:"before,omitempty"` // bytes that a file had before it was compacted
	After  int64 `json:"after,omitempty"`  // and has now
}

// serveCopy answers with the name of a copy that is only for whoever asked. It is removed
// when they close the connection, for whatever reason, or when the registry stops.
func (a *Admin) serveCopy(w http.ResponseWriter, r *http.Request) {
	a.serveProgress(w, r, func(ctx context.Context, progress func(done, of int64), done func(CopyProgress)) error {
		return a.options.Copier.Copy(ctx, progress, func(path string) error {
			if r.URL.Query().Get("check") == "pages" {
				if err := a.options.Copier.CheckPages(); err != nil {
					return err
				}
			}
			done(CopyProgress{Name: filepath.Base(path)})
			<-ctx.Done()
			return nil
		})
	})
}

func (a *Admin) serveCompact(w http.ResponseWriter, r *http.Request) {
	a.serveProgress(w, r, func(ctx context.Context, progress func(done, of int64), done func(CopyProgress)) error {
		before, after, err := a.options.Copier.Compact(ctx, progress)
		if err == nil {
			done(CopyProgress{Before: before, After: after})
		}
		return err
	})
}

var errStopping = errors.New("it is stopping")

// serveProgress answers a request with how work goes on, which ends with done or an
// error.
func (a *Admin) serveProgress(w http.ResponseWriter, r *http.Request,
	work func(ctx context.Context, progress func(done, of int64), done func(CopyProgress)) error,
) {
	wanted, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if a.ctx.Err() != nil {
		cancel(errStopping)
	}
	defer context.AfterFunc(a.ctx, func() { cancel(errStopping) })()
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // copying a large file takes a while
	_ = conn.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var bytes, of atomic.Int64
	begun := false
	say := func(p CopyProgress) {
		begun, p.Bytes, p.Of = true, bytes.Load(), of.Load()
		_ = out.Encode(p) // if the client has gone, ctx ends
		_ = conn.Flush()
	}
	last, ended := make(chan CopyProgress, 1), make(chan error, 1)
	go func() {
		ended <- work(wanted, func(done, size int64) { bytes.Store(done); of.Store(size) }, func(p CopyProgress) { last <- p })
	}()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	ticks := second.C
	for {
		select {
		case p := <-last:
			p.Done, ticks = true, nil
			say(p)
		case err := <-ended:
			switch {
			case ticks == nil: // it was done
			case err != nil && !begun:
				Fail(w, err)
			case err != nil:
				say(CopyProgress{Done: true, Error: err.Error()})
			default:
				p := <-last
				p.Done = true
				say(p)
			}
			return
		case <-ticks:
			say(CopyProgress{})
		}
	}
}
