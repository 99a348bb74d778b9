package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"foyer/admin"
	"foyer/storage"
	"foyer/storage/bolt"
)

// copyInfix is what the name of a copy has between the name of the database and
// a number.
const copyInfix = ".copy-"

// copyTurn is how long to wait for another copy to be finished.
const copyTurn = 2 * time.Second

var (
	errCopyRemoved = errors.New("there is nothing to copy: the database was removed or replaced under the registry that runs")
	errCopyTurn    = errors.New("the registry is making a copy for somebody else")
)

// A copier is an [admin.Copier]. There is one copy at a time, which bounds the disk space
// that they take.
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

// Copy implements [admin.Copier].
func (c *copier) Copy(ctx context.Context, progress func(done, of int64), use func(path string) error) error {
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

// CheckPages implements [admin.Copier].
func (c *copier) CheckPages() error { return c.store.CheckPages() }

// Compact implements [admin.Copier].
func (c *copier) Compact(ctx context.Context, progress func(done, of int64)) (before, after int64, err error) {
	before, after, err = c.store.Compact(ctx, c.newPath(), progress)
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
	}
	return before, after, err
}

// follow reads the lines of an answer to the last one, and shows progress. The
// body stays open.
func follow(body io.Reader, progress func(done, of int64)) (admin.CopyProgress, error) {
	for p, err := range lines[admin.CopyProgress](io.NopCloser(body)) {
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
	return admin.CopyProgress{}, errBrokeOff
}
