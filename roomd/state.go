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
	"runtime"
	"strings"

	"foyer/room"
)

// identity is what makes a room the same room after a restart: its key, held
// under a lock, so that no second roomd takes the name from the first.
type identity struct {
	key  ed25519.PrivateKey
	lock *os.File
}

// openIdentity locks and reads the key of the room in the folder dir, and makes
// both if there are none. The lock lasts until Close, or until the process ends
// in whatever way.
func openIdentity(dir string, name room.Name) (*identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, fileName(name))
	lock, err := os.OpenFile(base+".lock", os.O_CREATE|os.O_RDWR, 0o600)
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
	path := base + ".key"
	id.key, err = readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		id.key, err = createKey(path)
	}
	if err != nil {
		id.Close()
		return nil, err
	}
	return id, nil
}

// Close gives up the lock. The file stays: removing it could take away the lock
// of somebody who has just opened it.
func (id *identity) Close() error { return id.lock.Close() }

// fileName returns what the files of a room are called, without their
// extension: as much of the room's name as any file system takes, for people,
// and enough of its SHA-256 hash that no two rooms share a file.
func fileName(name room.Name) string {
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

// readKey reads a key file, and refuses one that others can read.
func readKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the key file %s is not a file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" { // where modes are made up
		return nil, fmt.Errorf("the key file %s has mode %#o: others could use the key; say chmod 600, or remove it if they have", path, mode)
	}
	f, err := os.Open(path)
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
		return nil, fmt.Errorf("the key file %s: %w", path, err)
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
func createKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-*.key") // of mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) // fails once it has been renamed
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	return key, syncDir(filepath.Dir(path))
}
