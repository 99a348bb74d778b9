package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debVersion makes a version of Debian's of one of Go's: what comes before a
// release, v1.2.3-rc.1 or a pseudo-version, sorts before it, and there is no
// hyphen, which would begin the number of a packaging.
func debVersion(v string) string {
	v = strings.TrimPrefix(v, "v")
	v, build, _ := strings.Cut(v, "+")
	v, pre, isPre := strings.Cut(v, "-")
	if isPre {
		v += "~" + strings.ReplaceAll(pre, "-", ".")
	}
	if build != "" {
		v += "+" + strings.ReplaceAll(build, "-", ".")
	}
	return v
}

// writeDeb has nfpm make a Debian package of the files, as deploy/debian/nfpm.yaml
// says.
func (r *release) writeDeb(t target, files tree, into string) error {
	for _, name := range slices.Collect(maps.Keys(files)) {
		if path.Dir(name) == "man" {
			if err := files.zip(name, name+".gz"); err != nil {
				return err
			}
		}
	}
	if err := files.zip("CHANGELOG.md", "changelog.gz"); err != nil {
		return err
	}
	license, err := files["LICENSE"].read()
	if err != nil {
		return err
	}
	files["copyright"] = file{data: append(append(license, '\n'), files["THIRD-PARTY-LICENSES"].data...), mode: 0o644}

	dir := filepath.Join(r.work, "deb-"+t.arch)
	if err := files.writeDir(dir); err != nil {
		return err
	}
	// The times of files are taken from them.
	err = filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(p, r.time, r.time)
	})
	if err != nil {
		return err
	}
	version := debVersion(r.version)
	// nfpm is not of the target's system but of this one.
	nfpm, err := r.output(filepath.Join(r.source, "internal/dist/nfpm"), []string{"GOFLAGS=", "GOWORK=off"}, "go", "tool", "-n", "nfpm")
	if err != nil {
		return err
	}
	_, err = r.output(dir, []string{"VERSION=" + version, "ARCH=" + t.arch, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix())},
		nfpm, "package", "--config", "deploy/debian/nfpm.yaml", "--packager", "deb",
		"--target", filepath.Join(into, "foyer_"+version+"_"+t.arch+".deb"))
	return err
}
