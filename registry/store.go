package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"foyer/internal/command"
	"foyer/storage"
)

const defaultStore = "rooms.db"

// storeFlag is the value of --store.
type storeFlag struct {
	path string // of the file of the embedded store
}

// addStoreFlag adds --store.
func addStoreFlag(flags *pflag.FlagSet) *storeFlag {
	f := &storeFlag{path: defaultStore}
	flags.Var(f, "store", "where registrations are kept: the path of a file, or bolt:PATH")
	return f
}

// Type, String and Set implement pflag.Value.
func (f *storeFlag) Type() string   { return "STORE" }
func (f *storeFlag) String() string { return f.path }

func (f *storeFlag) Set(s string) error {
	path, isBolt := strings.CutPrefix(s, "bolt:")
	switch {
	case path == "":
		return command.Usagef("the path is missing")
	case !isBolt && strings.Contains(s, "://"):
		return command.Usagef("this registry has no store of the kind %s", s[:strings.Index(s, "://")])
	}
	f.path = path
	return nil
}

// maxLinks is how many symbolic links in a row are followed, as on Linux.
const maxLinks = 40

// file returns the path of the file without symbolic links, so that server and
// tools agree on it however it was given, even if the file does not exist. If
// its folder does not exist either, the path stays as given.
func (f *storeFlag) file() string {
	path := f.path
	for range maxLinks {
		folder, name := filepath.Split(path)
		if folder == "" {
			folder = "."
		}
		folder, err := filepath.EvalSymlinks(folder)
		if err != nil {
			break
		}
		path = filepath.Join(folder, name)
		target, err := os.Readlink(path)
		if err != nil {
			return path // no link, or no file
		}
		if path = target; !filepath.IsAbs(target) {
			path = folder + string(filepath.Separator) + target // not cleaned: a ".." may follow a link
		}
	}
	return f.path
}

// socket returns the path of the admin interface's Unix socket.
func (f *storeFlag) socket() string { return f.file() + ".sock" }

// exists returns an error that names the file if it is not there.
func (f *storeFlag) exists() error {
	if _, err := os.Stat(f.path); err != nil {
		return fmt.Errorf("%s: %w", f.path, errors.Unwrap(err))
	}
	return nil
}

// hint adds to the error of opening a file what its reader may have forgotten, or
// may not know.
func (f *storeFlag) hint(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; --store says where the registry keeps its database", err)
	case errors.Is(err, storage.ErrOlderFormat):
		return fmt.Errorf("%w, with `registry dump --format json` and `registry import`", err)
	}
	return err
}
