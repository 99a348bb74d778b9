package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"foyer/internal/command"
)

const defaultStore = "rooms.db"

// storeFlag is the value of --store: where the registrations are kept.
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

// file returns the path of the file without symbolic links, so that server and
// tools agree on it whichever way they were shown; or as it was given, if there
// is no such file.
func (f *storeFlag) file() string {
	if path, err := filepath.EvalSymlinks(f.path); err == nil {
		return path
	}
	return f.path
}

// socket returns the path of the admin interface's Unix socket.
func (f *storeFlag) socket() string { return f.file() + ".sock" }

// missing adds to the error of opening a file that is not there what its reader
// may have forgotten.
func (f *storeFlag) missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; --store says where the registry keeps its database", err)
	}
	return err
}
