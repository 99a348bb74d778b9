package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"foyer"
	"foyer/storage"
)

// Whoever waits for the lock of a process that is being killed, while that still ends
// a commit, finds the file larger than when it was opened.
func TestFileGrowsBeforeTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := openQuick(t, path)
	opened := func() (n int) {
		fds, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); to == path {
				n++
			}
		}
		return n
	}
	before := opened()
	done := make(chan error)
	go func() {
		again, err := Open(path, nil)
		if err == nil {
			err = again.Close()
		}
		done <- err
	}()
	for opened() == before {
		runtime.Gosched()
	}
	for range 100 { // it looks at the file as soon as it has it open
		runtime.Gosched()
	}
	if err := s.Update(s.Last(), func(tx storage.Tx) error {
		for i := range 5000 {
			r := foyer.Registration{Name: foyer.Name(fmt.Sprint(i)), Address: foyer.Address(fmt.Sprintf("room://h:%d", i+1))}
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.file.closeDB() // as a kill does, which writes nothing more
	if err := <-done; err != nil {
		t.Error(err)
	}
}
