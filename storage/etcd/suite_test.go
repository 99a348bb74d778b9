package etcd

import (
	"errors"
	"testing"

	"foyer/storage"
	"foyer/storage/engine"
	"foyer/storage/storetest"
)

func TestLog(t *testing.T) {
	storetest.TestLog(t, func(t *testing.T) func() engine.Log {
		a := newAddress(t)
		return func() engine.Log { return openLog(t, a) }
	})
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) func() storage.Store {
		a := newAddress(t)
		return func() storage.Store {
			s, err := Open(a, Options{})
			if err != nil {
				t.Fatal(err)
			}
			return saving{s}
		}
	})
}

// saving is a Store that writes a snapshot before it is closed.
type saving struct{ *Store }

func (s saving) Close() error { return errors.Join(s.Save(), s.Store.Close()) }
