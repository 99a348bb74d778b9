package main

import (
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

// socket returns the path of the admin interface's Unix socket.
func (f *storeFlag) socket() string { return f.path + ".sock" }
