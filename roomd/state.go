package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"foyer"
	"foyer/client"
	"foyer/internal/private"
)

// identity is what makes a room the same room after a restart: its key, and a
// lock, so that a second roomd cannot take the name from the first.
type identity struct {
	key  ed25519.PrivateKey
	lock *os.File
}

// openIdentity locks and reads the key of the room in the folder dir, and makes
// folder, lock and key if there are none. The lock lasts until Close or the end
// of the process, however it ends.
//
// Whoever could have made these files could impersonate the room, or keep it
// from starting. So folder and files must belong to the user running roomd,
// even if that is root, and nobody else may change them; see
// docs/decisions/0022-whose-key-it-is.md.
func openIdentity(dir string, name foyer.Name) (*identity, error) {
	state, err := private.OpenFolder(dir, "state folder", "give --state")
	if err != nil {
		return nil, err
	}
	defer state.Close()
	base := fileName(name)
	lock, err := openLock(state, base+".lock")
	if err != nil {
		return nil, err
	}
	id := &identity{lock: lock}
	switch held, err := lockFile(lock); {
	case err != nil:
		id.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", lock.Name(), err)
	case held:
		id.Close()
		return nil, fmt.Errorf("another roomd serves %q with the state in %s", string(name), dir)
	}
	if id.key, err = client.OpenKey(filepath.Join(dir, base+".key")); err != nil {
		id.Close()
		return nil, err
	}
	return id, nil
}

// openLock opens the lock file, or makes it.
func openLock(state *os.Root, name string) (*os.File, error) {
	f, err := state.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // not through a link
	if err == nil {
		return f, nil
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("the lock file cannot be made in %s: %w", state.Name(), err)
	}
	return private.Open(state, name, "lock file", os.O_RDWR, "others could hold the lock; run chmod 600, or remove it")
}

// Close gives up the lock. The file stays: removing it could take away the lock
// of somebody who has just opened it.
func (id *identity) Close() error { return id.lock.Close() }

// fileName returns the name of a room's files, without extension: as much of
// the room's name as any file system takes, for people, and enough of its
// SHA-256 hash that no two rooms share a file.
func fileName(name foyer.Name) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, string(name))
	hash := sha256.Sum256([]byte(name))
	return readable[:min(len(readable), 40)] + "-" + hex.EncodeToString(hash[:16])
}
