package bolt

import (
	"path/filepath"
	"testing"

	"foyer/storage"
	"foyer/storage/storetest"
)

func TestStore(t *testing.T) {
	for name, options := range map[string]*Options{
		"Default": nil,
		// Everything that takes a large file to happen: sweeps, trims, and
		// indexes that are built while the store is in use.
		"AsIfLarge": {pace: quick, noSync: true},
	} {
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
