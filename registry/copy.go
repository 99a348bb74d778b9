package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// copyProgress is a line of the answer to POST /v1/copy and /v1/compact: one a second,
// and one when it is over.
type copyProgress struct {
	Bytes int64  `json:"bytes"`           // written so far
	Of    int64  `json:"of"`              // of about so many
	Done  bool   `json:"done,omitempty"`  // this is the last line
	Name  string `json:"name,omitempty"`  // of the copy, beside the database
	Error string `json:"error,omitempty"` // why it was not done

	Before int64 `json:"before,omitempty"` // bytes that a file had before it was compacted
	After  int64 `json:"after,omitempty"`  // and has now
}

// copyInfix is what the name of a copy has between the name of the database and
// a number.
const copyInfix = ".copy-"

// copyTurn is how long to wait for another copy to be finished.
const copyTurn = 2 * time.Second

var (
	errStopping    = errors.New("it is stopping")
	errCopyRemoved = errors.New("there is nothing to copy: the database was removed or replaced under the registry that runs")
	errCopyTurn    = errors.New("the registry is making a copy for somebody else")
)

// A copier makes copies of a database that is open, beside it. There is one at a time,
// which bounds the disk space that they take.
type copier struct {
	store *bolt.Store
	path  string
	turn  chan struct{}
}

// newCopier also removes what a registry that was killed has left; the caller holds the
// database.
func newCopier(store *bolt.Store, path string) *copier {
	removeCopies(path)
	return &copier{store, path, make(chan struct{}, 1)}
}

func removeCopies(path string) {
	folder, name := filepath.Split(path)
	if folder == "" {
		folder = "."
	}
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		number, ok := strings.CutPrefix(strings.TrimPrefix(e.Name(), "."), name+copyInfix)
		number, _, _ = strings.Cut(number, ".new-") // before it got its name
		if !ok {
			number, ok = strings.CutPrefix(e.Name(), "."+name+temporaryInfix) // of restore
		}
		if ok && e.Type().IsRegular() && strings.Trim(number, "0123456789") == "" {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

func (c *copier) newPath() string { return fmt.Sprint(c.path, copyInfix, rand.Uint32()) }

// copy makes a copy and calls use with its path, and removes it.
func (c *copier) copy(ctx context.Context, progress func(done, of int64), use func(path string) error) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-time.After(copyTurn): // the previous one may be about to end
		return errCopyTurn
	}
	if errors.Is(c.store.Check(), storage.ErrRemoved) { // a copy of a removed database would prove nothing
		return errCopyRemoved
	}
	path := c.newPath()
	defer os.Remove(path)
	err := c.store.Copy(ctx, path, progress)
	if errors.Is(err, storage.ErrRemoved) {
		return errCopyRemoved
	}
	if err = cmp.Or(context.Cause(ctx), err); err != nil {
		return err
	}
	return use(path)
}

// compact makes the file as small as can be.
func (c *copier) compact(ctx context.Context, progress func(done, of int64)) (before, after int64, err error) {
	before, after, err = c.store.Compact(ctx, c.newPath(), progress)
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
	}
	return before, after, err
}

// handler adds to the admin interface, on the socket:
//
//	POST /v1/copy[?check=pages]    a copyProgress a second, each on a line; the last one names the copy
//	POST /v1/compact               the same; the last one has the sizes
//
// The copy is only for whoever asked, and is removed when they close the
// connection, for whatever reason, or when ctx ends.
func (c *copier) handler(ctx context.Context, rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", rest)
	mux.HandleFunc("POST /v1/copy", func(w http.ResponseWriter, r *http.Request) {
		serveProgress(ctx, w, r, func(ctx context.Context, progress func(done, of int64), done func(copyProgress)) error {
			return c.copy(ctx, progress, func(path string) error {
				if r.URL.Query().Get("check") == "pages" {
					if err := c.store.CheckPages(); err != nil {
						return err
					}
				}
				done(copyProgress{Name: filepath.Base(path)})
				<-ctx.Done()
				return nil
			})
		})
	})
	mux.HandleFunc("POST /v1/compact", func(w http.ResponseWriter, r *http.Request) {
		serveProgress(ctx, w, r, func(ctx context.Context, progress func(done, of int64), done func(copyProgress)) error {
			before, after, err := c.compact(ctx, progress)
			if err == nil {
				done(copyProgress{Before: before, After: after})
			}
			return err
		})
	})
	return mux
}

// serveProgress answers a request with how work goes on, which ends with done or an
// error.
func serveProgress(ctx context.Context, w http.ResponseWriter, r *http.Request,
	work func(ctx context.Context, progress func(done, of int64), done func(copyProgress)) error,
) {
	wanted, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if ctx.Err() != nil {
		cancel(errStopping)
	}
	defer context.AfterFunc(ctx, func() { cancel(errStopping) })()
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // copying a large file takes a while
	_ = conn.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var bytes, of atomic.Int64
	begun := false
	say := func(p copyProgress) {
		begun, p.Bytes, p.Of = true, bytes.Load(), of.Load()
		_ = out.Encode(p) // if the client has gone, ctx ends
		_ = conn.Flush()
	}
	last, ended := make(chan copyProgress, 1), make(chan error, 1)
	go func() {
		ended <- work(wanted, func(done, size int64) { bytes.Store(done); of.Store(size) }, func(p copyProgress) { last <- p })
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
				admin.Fail(w, err)
			case err != nil:
				say(copyProgress{Done: true, Error: err.Error()})
			default:
				p := <-last
				p.Done = true
				say(p)
			}
			return
		case <-ticks:
			say(copyProgress{})
		}
	}
}

// follow reads the lines of serveProgress to the last one, and shows progress. The
// body stays open.
func follow(body io.Reader, progress func(done, of int64)) (copyProgress, error) {
	for p, err := range lines[copyProgress](io.NopCloser(body)) {
		switch {
		case err != nil:
			return p, err
		case p.Error != "":
			return p, fmt.Errorf("the running registry cannot do that: %s", p.Error)
		case p.Done:
			return p, nil
		}
		progress(p.Bytes, p.Of)
	}
	return copyProgress{}, errBrokeOff
}
