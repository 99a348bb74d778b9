package bolt

import (
	"path/filepath"
	"testing"

	"foyer/storage"
	"foyer/storage/engine"
	"foyer/storage/storetest"
)

// quick makes a small test meet everything that a large database does: sweeps
// that begin and end, parts that are split and joined, logs that are trimmed.
var quick = &Options{
	pace:        engine.Pace{Log: 4000, Names: 6, Part: 12},
	enoughPages: 8,
	trimBlocks:  8,
	copyStep:    2 * pageSize,
	noSync:      true,
}

func TestStore(t *testing.T) {
	for name, options := range map[string]*Options{"Default": nil, "AsIfLarge": quick} {
		t.Run(name, func(t *testing.T) {
			storetest.Test(t, func(t *testing.T) func() storage.Store {
				path := filepath.Join(t.TempDir(), "rooms.db")
				return func() storage.Store {
					s, err := Open(path, options)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
			})
		})
	}
}

func TestLog(t *testing.T) {
	for name, enough := range map[string]int{"Default": enoughPages, "AsIfLarge": quick.enoughPages} {
		t.Run(name, func(t *testing.T) {
			storetest.TestLog(t, func(t *testing.T) func() engine.Log {
				path := filepath.Join(t.TempDir(), "rooms.db")
				if err := create(path); err != nil {
					t.Fatal(err)
				}
				return func() engine.Log {
					f := newFile(path, &Options{enoughPages: enough, trimBlocks: 8, noSync: true}, false)
					if err := f.open(); err != nil {
						t.Fatal(err)
					}
					return f
				}
			})
		})
	}
}
