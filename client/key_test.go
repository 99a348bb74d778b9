package client

import (
	"bytes"
	"crypto/ed25519"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"foyer/internal/private"
)

// A key of RFC 8410, section 10.3, as openssl writes it.
const keyText = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"

func TestOpenKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "hall.key")
	made, err := OpenKey(path)
	if err != nil || len(made) != ed25519.PrivateKeySize {
		t.Fatalf("got %d bytes, %v", len(made), err)
	}
	if again, err := OpenKey(path); err != nil || !made.Equal(again) {
		t.Errorf("the second time: %v, %v", again, err)
	}
	if other, err := OpenKey(filepath.Join(filepath.Dir(path), "attic.key")); err != nil || made.Equal(other) {
		t.Errorf("another file: %v, %v", other, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 2 {
		t.Errorf("there are %v, %v", entries, err)
	}
	if runtime.GOOS != "windows" { // where modes are made up
		for of, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			if info, err := os.Stat(of); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", of, info.Mode(), err)
			}
		}
	}

	foreign := filepath.Join(filepath.Dir(path), "openssl.key")
	if err := os.WriteFile(foreign, []byte(keyText), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := OpenKey(foreign)
	if err != nil || !bytes.HasPrefix(key.Seed(), []byte{0xd4, 0xee, 0x72, 0xdb}) {
		t.Errorf("got %x, %v", key, err)
	}
}

// TestOpenKeyTogether: concurrent calls all get the same new key.
func TestOpenKeyTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "hall.key")
	var keys [8]ed25519.PrivateKey
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = OpenKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if !key.Equal(keys[0]) {
			t.Fatal("there are several keys")
		}
	}

	folder, err := private.OpenFolder(filepath.Dir(path), "folder", "use")
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := createKey(folder, filepath.Base(path)); !os.IsExist(err) {
		t.Errorf("made once more: %v", err)
	}
	if again, err := OpenKey(path); err != nil || !again.Equal(keys[0]) {
		t.Errorf("afterwards: %v, %v", again, err)
	}
}

// TestOpenKeyOfOthers: roomd's tests cover everything that is refused; these
// are the messages for programs without the flag.
func TestOpenKeyOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // modes are made up there
	}
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "hall.key")
	if _, err := OpenKey(path); err != nil {
		t.Fatal(err)
	}
	refused := func(want string) {
		t.Helper()
		if _, err := OpenKey(path); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	chmod := func(path string, mode fs.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(path, 0o640)
	refused("the key file " + path + " has mode 0640: others could use the key; run chmod 600, or remove it if they have")
	chmod(dir, 0o770)
	refused("the folder " + dir + " has mode 0770: others could put keys there; run chmod go-w")
	path = filepath.Join(path, "under-a-file")
	if _, err := OpenKey(path); err == nil || !strings.HasPrefix(err.Error(), "the folder cannot be made: ") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(keyText))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := parseKey(text); (err == nil) != (len(key) == 64) {
			t.Errorf("%q: %v, %v", text, key, err)
		}
	})
}
