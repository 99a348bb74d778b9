package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// A tree is the files of an archive by their paths, with slashes.
type tree map[string]file

// A file's contents are its data, or else those of the file at its path.
type file struct {
	data []byte
	path string
	mode fs.FileMode
}

func (f file) read() ([]byte, error) {
	if f.path == "" {
		return f.data, nil
	}
	return os.ReadFile(f.path)
}

func (t tree) add(name, from string, mode fs.FileMode) { t[name] = file{path: from, mode: mode} }

// addAll adds the files of a folder and those below it. Those that can be executed
// stay so; how else the umask was does not matter.
func (t tree) addAll(name, from string) error {
	return fs.WalkDir(os.DirFS(from), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		t.add(path.Join(name, p), filepath.Join(from, filepath.FromSlash(p)), mode)
		return nil
	})
}

// sorted calls fn for each file, in the order of their names.
func (t tree) sorted(fn func(name string, f file, data []byte) error) error {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		data, err := t[name].read()
		if err == nil {
			err = fn(name, t[name], data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTar writes a tar.gz of the tree, below a folder.
func (t tree) writeTar(to, folder string, at time.Time) error {
	return writeFile(to, func(w io.Writer) error {
		zip, err := gzip.NewWriterLevel(w, gzip.BestCompression) // without a name or a time
		if err != nil {
			return err
		}
		out := tar.NewWriter(zip)
		err = t.sorted(func(name string, f file, data []byte) error {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: path.Join(folder, name), Size: int64(len(data)), Mode: int64(f.mode), ModTime: at}
			if err := out.WriteHeader(h); err != nil {
				return err
			}
			_, err := out.Write(data)
			return err
		})
		return errors.Join(err, out.Close(), zip.Close())
	})
}

// writeZip writes a zip of the tree, below a folder.
func (t tree) writeZip(to, folder string, at time.Time) error {
	return writeFile(to, func(w io.Writer) error {
		out := zip.NewWriter(w)
		err := t.sorted(func(name string, f file, data []byte) error {
			h := &zip.FileHeader{Name: path.Join(folder, name), Method: zip.Deflate, Modified: at}
			h.SetMode(f.mode)
			w, err := out.CreateHeader(h)
			if err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		})
		return errors.Join(err, out.Close())
	})
}

// zip replaces a file by a zipped one.
func (t tree) zip(name, by string) error {
	data, err := t[name].read()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	err = errors.Join(err, w.Close())
	delete(t, name)
	t[by] = file{data: b.Bytes(), mode: 0o644}
	return err
}

// writeDir writes the tree into a folder.
func (t tree) writeDir(to string) error {
	return t.sorted(func(name string, f file, data []byte) error {
		p := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, data, f.mode); err != nil {
			return err
		}
		return os.Chmod(p, f.mode) // whatever the umask
	})
}

func writeFile(to string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}
