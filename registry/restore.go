package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"foyer/discovery"
	"foyer/storage"
	"foyer/storage/bolt"
)

// backupTime is how a time is written in the name of a file: names sort by it.
const backupTime = "20060102T150405Z"

func restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the database",
		Long: `Put a backup in the place of the database. FILE is checked from end to end first, and
not changed. No registry may run on the store, nor on FILE. The database that is there
is kept beside it, as STORE.before-restore-TIME.

All is then as it was when the backup was made. Every lease has as long to run as it had
then, of five minutes and less begin anew: rooms that are alive renew, or register
again, and rooms that are not are gone after that. What was registered, ended or evicted
since the backup is forgotten. So that nothing of it is done twice, requests with a
version 7 id from before the restoration are refused as stale; clients repeat those with
a new one by themselves.`,
		Args: cobra.ExactArgs(1),
	}
	store := addStoreFlag(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		defer endAtHangup(c)()
		from, to := args[0], store.file()
		if checkSocket(store.socket()) != nil {
			return fmt.Errorf("a registry is running on %s: end it first", store.path)
		}
		here, hereErr := os.Stat(to)
		if info, err := os.Stat(from); err == nil && hereErr == nil && os.SameFile(info, here) {
			return fmt.Errorf("%s is the database itself", from)
		}
		at := time.Now().UTC()
		// While both are open no registry can begin to use either. One that is damaged cannot
		// be opened, by nobody.
		old, err := bolt.OpenReadOnly(to)
		switch {
		case err == nil:
			defer old.Close()
			at = wallOf(old)
		case errors.Is(err, storage.ErrLocked):
			return inUse(store.path, err)
		}
		backup, err := bolt.OpenReadOnly(from)
		if err != nil {
			return inUse(from, err)
		}
		defer backup.Close()

		bar := newProgressBar(c.ErrOrStderr())
		defer bar.clear()
		kept := ""
		asOf, rooms := backup.Last().Wall, backup.Len()
		err = saveCopy(c.Context(), from, to, bar.phase("copying"), func(path string) error {
			if err := markRestored(path, at); err != nil {
				return err
			}
			if hereErr != nil {
				if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s has appeared meanwhile", store.path)
				}
				return nil
			}
			name, err := keepBeside(to, at)
			kept = name
			return err
		})
		if err != nil {
			if kept != "" && sameFile(kept, to) { // it has not been replaced
				_ = os.Remove(kept)
			}
			return err
		}
		bar.clear()
		text := fmt.Sprintf("restored %s: %d rooms", store.path, rooms)
		if rooms == 1 {
			text = fmt.Sprintf("restored %s: 1 room", store.path)
		}
		if !asOf.IsZero() { // something was written
			text += ", as of " + clockTime(asOf)
		}
		if kept != "" {
			text += "; what was there is now " + filepath.Join(filepath.Dir(store.path), filepath.Base(kept))
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), text)
		return err
	}
	return c
}

func markRestored(path string, at time.Time) error {
	s, err := bolt.Open(path, nil)
	if err != nil {
		return err
	}
	now := storage.Instant{Wall: wallOf(s), Lease: s.Last().Lease}
	if now.Wall.Before(at) {
		now.Wall = at
	}
	err = s.Update(now, func(tx storage.Tx) error { return discovery.MarkRestored(tx, now.Wall) })
	return errors.Join(err, s.Close())
}

// keepBeside gives a database a second name, which it keeps when another one takes its
// place. Where a file cannot have two, it loses the first: a crash then leaves it with
// the second only.
func keepBeside(path string, at time.Time) (string, error) {
	kept := path + ".before-restore-" + at.Format(backupTime)
	err := os.Link(path, kept)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s is there already", kept)
	}
	if err != nil {
		err = os.Rename(path, kept)
	}
	return kept, err
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
