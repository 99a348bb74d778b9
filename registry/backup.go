package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"foyer/internal/command"
	"foyer/storage"
	"foyer/storage/bolt"
)

func backupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save a checked copy of the database",
		Long: `Save a copy of the database that was checked from end to end, as verify does. FILE
is written beside its place under another name, and gets its own when it is complete,
checked and on the disk: an older FILE is replaced then, and stays as it is if anything
fails. It holds everything, also histories, evictions and what retries are answered.

If a registry is running on the store, that goes on: it writes a copy beside its file
first, for which there must be space, and FILE is copied from that.`,
		Args: cobra.ExactArgs(1),
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		to, err := backupTarget(args[0], store)
		if err != nil {
			return err
		}
		defer endAtHangup(c)()
		ctx, bar := c.Context(), newProgressBar(c.ErrOrStderr())
		defer bar.clear()
		save := func(from string) error {
			return saveCopy(ctx, from, to, bar.phase("saving"), func(string) error { return nil })
		}
		err = store.eitherWay(ctx, func(server *adminClient) error {
			body, err := server.do(ctx, http.MethodPost, "/v1/copy", nil)
			if err != nil {
				return err
			}
			defer body.Close() // when the registry removes its copy
			p, err := follow(body, bar.phase("copying"))
			if err != nil {
				return err
			}
			return save(filepath.Join(filepath.Dir(store.file()), filepath.Base(p.Name)))
		}, func() error {
			file, err := bolt.OpenReadOnly(store.path) // so that nobody changes it
			if err != nil {
				return err
			}
			return errors.Join(save(store.path), file.Close())
		})
		if err != nil {
			return err
		}
		bar.clear()
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s: saved and checked\n", args[0])
		return err
	}
	return c
}

// backupTarget returns the path that a backup is to have, without symbolic links.
func backupTarget(path string, store *storeFlag) (string, error) {
	if path == "-" {
		return "", command.Usagef("a backup is checked before it gets its name, which standard output has none of: give a file")
	}
	target := &storeFlag{path: path}
	to := target.file()
	info, err := os.Stat(to)
	switch here, storeErr := os.Stat(store.file()); {
	case errors.Is(err, fs.ErrNotExist):
		return to, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case storeErr == nil && os.SameFile(info, here):
		return "", fmt.Errorf("%s is the database itself", path)
	}
	if checkSocket(target.socket()) != nil {
		return "", fmt.Errorf("%s is the database of a registry that runs", path)
	}
	return to, nil
}

// temporaryInfix is what the name of a file has that is not complete, between a point
// with its own name and a number.
const temporaryInfix = ".tmp-"

// saveCopy copies a database that does not change. The copy is complete, checked and on
// the disk before it gets its name; finish has changed it before.
func saveCopy(ctx context.Context, from, to string, progress func(done, of int64), finish func(path string) error) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+temporaryInfix+"*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	w := &progressWriter{ctx: ctx, file: out, size: info.Size(), progress: progress}
	_, err = io.CopyBuffer(w, in, make([]byte, 1<<20))
	if err = cmp.Or(err, out.Sync(), out.Close()); err != nil {
		return plain(err, out.Name(), to)
	}
	var faults strings.Builder
	if err := verifyApart(ctx, out.Name(), to, &faults); err != nil {
		if fault, _, _ := strings.Cut(faults.String(), "\n"); fault != "" {
			err = fmt.Errorf("%w: %s", err, fault)
		}
		return fmt.Errorf("what was copied is no sound database: %w", err)
	}
	if err := finish(out.Name()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), to); err != nil {
		return err
	}
	return bolt.SyncFolder(filepath.Dir(to))
}

// plain takes the name of a temporary file out of an error.
func plain(err error, temporary, name string) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok && pathErr.Path == temporary {
		return fmt.Errorf("%s: %w", name, pathErr.Err)
	}
	return err
}

// A progressWriter writes to a file until ctx ends. What is written goes to the disk
// bit by bit, so that a registry that flushes its own file need not wait for much.
type progressWriter struct {
	ctx      context.Context
	file     *os.File
	done     int64
	size     int64
	progress func(done, of int64)
}

// Write implements [io.Writer].
func (w *progressWriter) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	w.done += int64(n)
	w.progress(w.done, w.size)
	if w.done%(8<<20) < int64(n) {
		err = cmp.Or(err, w.file.Sync())
	}
	return n, cmp.Or(err, w.ctx.Err())
}

// A progressBar shows how far something is, on a terminal.
type progressBar struct{ w io.Writer } // nil if it is not one

func newProgressBar(stderr io.Writer) progressBar {
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return progressBar{f}
	}
	return progressBar{}
}

const barWidth = 30

// phase returns a function that shows how many bytes of how many are done.
func (b progressBar) phase(what string) func(done, of int64) {
	shown := int64(-1)
	return func(done, of int64) {
		of = max(of, done, 1)
		if percent := done * 100 / of; b.w != nil && percent != shown {
			shown = percent
			full := strings.Repeat("=", int(percent*barWidth/100))
			fmt.Fprintf(b.w, "\r%-10s [%-*s] %3d%%  %d of %d MiB ", what, barWidth, full, percent, done>>20, of>>20)
		}
	}
}

func (b progressBar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

func compactCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compact",
		Short: "Make the database file as small as it can be",
		Long: `Write the database anew, without the space in it that is free, and put that in its
place; the sizes before and after are printed. By itself a file never gets smaller: free
space in it is used again. There must be space for the new file beside the old one.

If a registry is running on the store, it does this and goes on: look-ups do not wait,
and changes only a moment at the end.`,
		Args: cobra.NoArgs,
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		defer endAtHangup(c)()
		ctx, bar := c.Context(), newProgressBar(c.ErrOrStderr())
		defer bar.clear()
		var before, after int64
		err := store.eitherWay(ctx, func(server *adminClient) error {
			body, err := server.do(ctx, http.MethodPost, "/v1/compact", nil)
			if err != nil {
				return err
			}
			defer body.Close()
			p, err := follow(body, bar.phase("copying"))
			before, after = p.Before, p.After
			return err
		}, func() error {
			if err := store.exists(); err != nil {
				return err
			}
			s, err := bolt.Open(store.file(), nil)
			if err != nil {
				return err
			}
			before, after, err = newCopier(s, store.file()).Compact(ctx, bar.phase("copying"))
			return errors.Join(err, s.Close())
		})
		if err != nil {
			return err
		}
		bar.clear()
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s before, %s now\n", store.path, byteSize(before), byteSize(after))
		return err
	}
	return c
}

// inUse replaces the error of opening a database that a registry holds.
func inUse(path string, err error) error {
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("%s: %w: end the registry that runs on it first", path, storage.ErrLocked)
	}
	return err
}
