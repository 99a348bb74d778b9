package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"foyer"
)

func TestIdentityLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := openIdentity(dir, "Great Hall")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := openIdentity(dir, "Great Hall")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if !bytes.Equal(first.key, second.key) {
		t.Error("the key is another one")
	}
	other, err := openIdentity(dir, "great hall")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if bytes.Equal(first.key, other.key) {
		t.Error("two rooms have one key")
	}
	if runtime.GOOS == "windows" {
		return // modes are made up there
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, fileName("Great Hall")+".key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %#o, want %#o", path, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("there are %v", entries)
	}
}

func TestSecondRoomIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := openIdentity(dir, "Hall")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = openIdentity(dir, "Hall"); err == nil || err.Error() != `another roomd serves "Hall" with the state in `+dir {
		t.Errorf("got %v", err)
	}
	first.Close()
	again, err := openIdentity(dir, "Hall")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestBadKeyFiles(t *testing.T) {
	const block = "-----BEGIN PRIVATE KEY-----\n"
	for _, c := range []struct {
		what, text string
		mode       os.FileMode
		want       string
	}{
		{"empty", "", 0o600, "there is no private key in PEM form"},
		{"rubbish", "hello\n", 0o600, "there is no private key in PEM form"},
		{"cut off", block + "MC4CAQAwBQYDK2Vw", 0o600, "there is no private key in PEM form"},
		{"no key in it", block + "AAAA\n-----END PRIVATE KEY-----\n", 0o600, "the private key cannot be read"},
		{"of another kind", ecdsaKey(t), 0o600, "the private key is not an Ed25519 key"},
		{"long", strings.Repeat("x", 1<<20), 0o600, "there is no private key in PEM form"},
		{"readable by others", "", 0o640, "has mode 0640"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.mode != 0o600 && runtime.GOOS == "windows" {
				return // modes are made up there
			}
			dir := t.TempDir()
			path := filepath.Join(dir, fileName("Hall")+".key")
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			id, err := openIdentity(dir, "Hall")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			if err == nil {
				id.Close()
			}
			if text, _ := os.ReadFile(path); string(text) != c.text {
				t.Error("the file was changed")
			}
			if lock, err := os.OpenFile(filepath.Join(dir, fileName("Hall")+".lock"), os.O_RDWR, 0); err != nil {
				t.Error(err)
			} else {
				if held, err := lockFile(lock); held || err != nil {
					t.Errorf("the lock is still held: %v, %v", held, err)
				}
				lock.Close()
			}
		})
	}
}

func ecdsaKey(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestFileNames(t *testing.T) {
	seen := map[string]foyer.Name{}
	for _, name := range []foyer.Name{
		"Hall", "hall", "Ha/ll", "Ha\\ll", "Ha_ll", "..", ".", "Große Halle", "CON", "a b", "a_b", "大广间",
		foyer.Name(strings.Repeat("x", 255)), foyer.Name(strings.Repeat("x", 254)), foyer.Name(strings.Repeat("🚪", 63)),
	} {
		file := fileName(name)
		if other, ok := seen[strings.ToLower(file)]; ok {
			t.Errorf("%q and %q share %s", name, other, file)
		}
		seen[strings.ToLower(file)] = name
		if len(file) > 80 || strings.Trim(file, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			t.Errorf("%q is kept in %q", name, file)
		}
	}
}
