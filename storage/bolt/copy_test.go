package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/storetest"
)

func openCopy(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "copy.db"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// givenUp returns a channel that is closed when the copy that is being made is told
// to give up.
func givenUp(f *file) <-chan struct{} {
	stopped := make(chan struct{})
	giveUp := *f.copying.Load()
	var once sync.Once
	tell := context.CancelCauseFunc(func(cause error) {
		giveUp(cause)
		once.Do(func() { close(stopped) })
	})
	f.copying.Store(&tell)
	return stopped
}

// A copy that is made amid Updates is whole, and is what one of them left.
func TestCopy(t *testing.T) {
	s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
	defer s.Close()
	walk, model := storetest.NewWalk(testenv.Seed(t), 60), storetest.NewModel(storetest.Sabotage{})
	for range 20 {
		for range 20 {
			step := walk.Next()
			step.Carry(s)
			step.Carry(model)
		}
		f := openCopy(t)
		var once sync.Once
		updated := make(chan error, 1) // meanwhile, so that the copy begins with an older state
		if err := s.Copy(t.Context(), f, func(int64) {
			once.Do(func() {
				go func() { updated <- s.Update(s.Last(), func(storage.Tx) error { return nil }) }()
			})
		}); err != nil {
			t.Fatal(err)
		}
		if err := <-updated; err != nil {
			t.Fatal(err)
		}
		verify(t, f.Name())
		wantLike(t, f.Name(), walk, model)
	}
}

// A commit that has to wait for a copy does so for a moment only: the copy is
// given up, and begun again.
func TestCopyGivesWay(t *testing.T) {
	s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
	defer s.Close()
	register := func(from, to int) error {
		return s.Update(s.Last(), func(tx storage.Tx) error {
			for i := from; i < to; i++ {
				r := foyer.Registration{Name: foyer.Name(fmt.Sprintf("%0200d", i)), Address: foyer.Address(fmt.Sprintf("room://h:%d", i+1))}
				if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := register(0, 100); err != nil {
		t.Fatal(err)
	}
	updated := make(chan error, 1)
	var once sync.Once
	restarts, last := 0, int64(0)
	f := openCopy(t)
	err := s.Copy(t.Context(), f, func(bytes int64) {
		if bytes <= last {
			restarts++
		}
		last = bytes
		once.Do(func() {
			// So much that more of the file has to be mapped, which waits for
			// the copy's transaction.
			go func() { updated <- register(100, 20_000) }()
			select {
			case <-givenUp(s.file):
			case err := <-updated:
				t.Errorf("the Update did not wait for the copy, %v", err)
				updated <- err
			}
		})
	})
	if err != nil || restarts == 0 {
		t.Errorf("Copy: %v, begun again %d times", err, restarts)
	}
	if err := <-updated; err != nil {
		t.Error(err)
	}
	verify(t, f.Name())
}

// A copy ends with an error while every commit takes too long, when the store is
// closed, and when it is not wanted any more.
func TestCopyGivesUp(t *testing.T) {
	fill := func(s *Store) {
		t.Helper()
		if err := s.Update(storage.Instant{}, func(storage.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("commits take too long", func(t *testing.T) {
		s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
		defer s.Close()
		fill(s)
		var updates sync.WaitGroup
		tries, last := 0, int64(0)
		err := s.Copy(t.Context(), openCopy(t), func(bytes int64) {
			if bytes > last && tries > 0 {
				return
			}
			last = bytes
			tries++
			updates.Wait() // for the Update of the try before
			stopped := givenUp(s.file)
			s.file.commitBolt = func(btx *bbolt.Tx) error {
				<-stopped
				return btx.Commit()
			}
			updates.Go(func() {
				if err := s.Update(s.Last(), func(storage.Tx) error { return nil }); err != nil {
					t.Error(err)
				}
			})
			<-stopped
		})
		updates.Wait()
		if !errors.Is(err, errInTheWay) || tries != copyTries {
			t.Errorf("Copy: %v, after %d tries", err, tries)
		}
	})
	t.Run("closed", func(t *testing.T) {
		s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
		fill(s)
		closed := make(chan error, 1)
		var once sync.Once
		err := s.Copy(t.Context(), openCopy(t), func(int64) {
			once.Do(func() {
				stopped := givenUp(s.file)
				go func() { closed <- s.Close() }()
				<-stopped
			})
		})
		// Closing writes first, for which the copy may have been in the way.
		if !errors.Is(err, errClosed) && !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy: %v", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := s.Copy(t.Context(), openCopy(t), nil); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy of a store that is closed: %v", err)
		}
	})
	t.Run("not wanted", func(t *testing.T) {
		s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
		defer s.Close()
		fill(s)
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Copy(ctx, openCopy(t), func(int64) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Errorf("Copy: %v", err)
		}
	})
	t.Run("not to be read", func(t *testing.T) {
		s := newTroubled(t)
		if err := s.register("room", time.Second); err != nil {
			t.Fatal(err)
		}
		s.failing(func(btx *bbolt.Tx) error {
			os.Rename(s.path, s.path+".away")
			return fullDisk(btx)
		})
		s.register("other", time.Second)
		if err := s.Copy(t.Context(), openCopy(t), nil); !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("Copy: %v", err)
		}
	})
}
