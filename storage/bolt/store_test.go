package bolt_test

import (
	"path/filepath"
	"testing"

	"foyer/storage"
	"foyer/storage/bolt"
	"foyer/storage/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) func() storage.Store {
		path := filepath.Join(t.TempDir(), "rooms.db")
		return func() storage.Store {
			s, err := bolt.Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
