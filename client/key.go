package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"foyer/internal/private"
)

// keyBlock is the type of the PEM block in a key file.
const keyBlock = "PRIVATE KEY"

// maxKeyFile bounds how much of a key file is read, in bytes.
const maxKeyFile = 4096

// OpenKey returns the owner's key stored in the file at path, for
// Registration.Key. If there is no such file it makes a key, the file, with
// mode 0600, and the folders above it. A room that is to keep its name over
// restarts opens the same file.
//
// The file holds the key as openssl reads and writes it: PKCS #8 (RFC 8410,
// section 7) in PEM.
//
// Whoever knows the key, or could have put it there, is the owner too. So the
// file and its folder must belong to the user running the program, nobody else
// may open the file or change the folder, and the file must not be a link. The
// error is one line that says what is wrong and how to fix it.
func OpenKey(path string) (ed25519.PrivateKey, error) {
	folder, err := private.OpenFolder(filepath.Dir(path), "folder", "use")
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	name := filepath.Base(path)
	key, err := readKey(folder, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	err = createKey(folder, name)
	if err != nil && !errors.Is(err, fs.ErrExist) { // not if another program was faster
		return nil, fmt.Errorf("the key cannot be made in %s: %w", folder.Name(), err)
	}
	return readKey(folder, name)
}

func readKey(folder *os.Root, name string) (ed25519.PrivateKey, error) {
	f, err := private.Open(folder, name, "key file", os.O_RDONLY, "others could use the key; run chmod 600, or remove it if they have")
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
		return nil, errors.New("the private key is not an Ed25519 key")
	}
	return key, nil
}

func createKey(folder *os.Root, name string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return private.Create(folder, name, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}))
}
