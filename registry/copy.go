package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"foyer/admin"
	"foyer/storage"
	"foyer/storage/bolt"
)

// copyProgress is a line of the answer to POST /v1/copy.
type copyProgress struct {
	Bytes int64  `json:"bytes"`           // written so far
	Name  string `json:"name,omitempty"`  // of the complete copy, beside the database
	Error string `json:"error,omitempty"` // why there is no copy
}

// copyInfix is what the name of a copy has between the name of the database and
// a number.
const copyInfix = ".verify-"

// copyTurn is how long to wait for another copy to be finished.
const copyTurn = 2 * time.Second

var errStopping = errors.New("it is stopping")

const errCopyRemoved = "there is nothing to verify: the database was removed or replaced under the registry that runs"

// withCopies adds to the admin interface what `registry verify` needs, which
// has to read a whole file that does not change:
//
//	POST /v1/copy    a copyProgress a second, each on a line; the last one names the copy
//
// The copy is only for whoever asked, and is removed when they close the
// connection, for whatever reason, or when the registry ends. Copies left by a
// registry that was killed are removed now; the caller holds the database.
func withCopies(ctx context.Context, handler http.Handler, store *bolt.Store, path string) http.Handler {
	removeCopies(path)
	turn := make(chan struct{}, 1) // one copy at a time bounds the disk space
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.HandleFunc("POST /v1/copy", func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-time.After(copyTurn): // the previous one may be about to end
			admin.Fail(w, errors.New("the registry is making a copy for somebody else"))
			return
		}
		wanted, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		if ctx.Err() != nil {
			cancel(errStopping)
		}
		defer context.AfterFunc(ctx, func() { cancel(errStopping) })()
		serveCopy(wanted, w, store, path)
	})
	return mux
}

func removeCopies(path string) {
	folder, name := filepath.Split(path)
	if folder == "" {
		folder = "."
	}
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), name+copyInfix)
		if ok && e.Type().IsRegular() && strings.Trim(number, "0123456789") == "" {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

// serveCopy makes a copy and keeps it until ctx ends.
func serveCopy(ctx context.Context, w http.ResponseWriter, store *bolt.Store, path string) {
	if errors.Is(store.Check(), storage.ErrRemoved) { // a copy of a removed database would prove nothing
		admin.Fail(w, errors.New(errCopyRemoved))
		return
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+copyInfix+"*") // of mode 0600
	if err != nil {
		admin.Fail(w, err)
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // copying and verifying a large file takes a while
	_ = conn.SetWriteDeadline(time.Time{})
	out := json.NewEncoder(w)
	say := func(p copyProgress) {
		_ = out.Encode(p) // if the client has gone, ctx ends
		_ = conn.Flush()
	}

	var written atomic.Int64
	copied := make(chan error, 1)
	go func() { copied <- store.Copy(ctx, file, written.Store) }()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case err := <-copied:
			if errors.Is(store.Check(), storage.ErrRemoved) {
				say(copyProgress{Error: errCopyRemoved})
				return
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx) // the copy, if there is one, is removed at once
			}
			if err != nil {
				say(copyProgress{Error: err.Error()})
				return
			}
			say(copyProgress{Bytes: written.Load(), Name: filepath.Base(file.Name())})
			<-ctx.Done()
			return
		case <-second.C:
			say(copyProgress{Bytes: written.Load()})
		}
	}
}
