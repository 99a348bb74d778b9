package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"foyer"
)

// identity is what makes a room the same room after a restart: its key, held
// under a lock, so that no second roomd takes the name from the first.
type identity struct {
	key  ed25519.PrivateKey
	lock *os.File
}

// openIdentity locks and reads the key of the room in the folder dir, and makes
// all three if there are none. The lock lasts until Close, or until the process
// ends in whatever way.
//
// Whoever could have made these files could be the room, or keep it from
// starting. So folder and files must belong to who runs roomd, root as much as
// anybody, and nobody else may change them; see
// docs/decisions/0022-whose-key-it-is.md.
func openIdentity(dir string, name foyer.Name) (*identity, error) {
	state, err := openState(dir)
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
	id.key, err = readKey(state, base+".key")
	if errors.Is(err, fs.ErrNotExist) {
		if id.key, err = createKey(state, base+".key"); err != nil {
			err = fmt.Errorf("the key cannot be made in %s: %w", dir, err)
		}
	}
	if err != nil {
		id.Close()
		return nil, err
	}
	return id, nil
}

// openState opens the folder, so that what was checked stays what is used,
// whoever moves things about.
func openState(dir string) (*os.Root, error) {
	dir = filepath.Clean(dir) // a slash at its end would hide a link
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the state folder cannot be made: %w", err)
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if link.Mode()&fs.ModeSymlink != 0 {
		if owner, theirs := foreign(link); theirs && owner != 0 {
			return nil, fmt.Errorf("the state folder %s is a link of user %d: give --state the folder itself", dir, owner)
		}
	}
	state, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	info, err := state.Stat(".")
	if err == nil {
		err = checkOwn(info, "state folder", dir, "give --state another one")
	}
	if err == nil && hasMode(info, 0o022) {
		err = fmt.Errorf("the state folder %s has mode %#o: others could put keys there; say chmod go-w", dir, info.Mode().Perm())
	}
	if err != nil {
		state.Close()
		return nil, err
	}
	return state, nil
}

// openLock opens the lock file, and makes it if there is none.
func openLock(state *os.Root, name string) (*os.File, error) {
	f, err := state.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // through no link
	if err == nil {
		return f, nil
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("the lock file cannot be made in %s: %w", state.Name(), err)
	}
	return openOwn(state, name, "lock file", os.O_RDWR, "others could hold the lock; say chmod 600, or remove it")
}

// openOwn opens a file of the folder that is there, one's own and a file, and
// not open to others, of whom it says what they could do.
func openOwn(state *os.Root, name, what string, flag int, others string) (*os.File, error) {
	path := filepath.Join(state.Name(), name)
	named, err := state.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the %s %s cannot be opened: %w", what, path, err)
	case named.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("the %s %s is a link: put the file itself there, or remove it", what, path)
	case !named.Mode().IsRegular(): // opening it may wait for somebody
		return nil, fmt.Errorf("the %s %s is not a file", what, path)
	}
	if err := checkOwn(named, what, path, "remove it if it is not yours"); err != nil {
		return nil, err
	}
	if hasMode(named, 0o077) {
		return nil, fmt.Errorf("the %s %s has mode %#o: %s", what, path, named.Mode().Perm(), others)
	}
	f, err := state.OpenFile(name, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("the %s %s cannot be opened: %w", what, path, err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(named, info) {
		err = fmt.Errorf("the %s %s was another one a moment ago", what, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkOwn refuses what belongs to somebody else.
func checkOwn(info fs.FileInfo, what, path, instead string) error {
	if owner, theirs := foreign(info); theirs {
		return fmt.Errorf("the %s %s belongs to user %d, and roomd runs as user %d: say chown %[4]d, or %[5]s", what, path, owner, os.Geteuid(), instead)
	}
	return nil
}

// Close gives up the lock. The file stays: removing it could take away the lock
// of somebody who has just opened it.
func (id *identity) Close() error { return id.lock.Close() }

// fileName returns what the files of a room are called, without their
// extension: as much of the room's name as any file system takes, for people,
// and enough of its SHA-256 hash that no two rooms share a file.
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

// keyBlock is the type of the PEM block in a key file, which holds the key in
// PKCS #8 form (RFC 8410, section 7), as openssl reads it.
const keyBlock = "PRIVATE KEY"

// maxKeyFile bounds how much of a key file is read, in bytes.
const maxKeyFile = 4096

// readKey reads a key file.
func readKey(state *os.Root, name string) (ed25519.PrivateKey, error) {
	f, err := openOwn(state, name, "key file", os.O_RDONLY, "others could use the key; say chmod 600, or remove it if they have")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("the key file %s: %w", f.Name(), err)
	}
	return key, nil
}

func parseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("there is no private key in PEM form")
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	key, ok := any.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is none for Ed25519")
	}
	return key, nil
}

// createKey makes a key and its file. A crash leaves either the whole file or
// none of that name.
func createKey(state *os.Root, name string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	fresh := "new-" + rand.Text() + ".key"
	f, err := state.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer state.Remove(fresh) // fails once it has been renamed
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, err
	}
	if err := state.Rename(fresh, name); err != nil {
		return nil, err
	}
	return key, syncDir(state)
}
