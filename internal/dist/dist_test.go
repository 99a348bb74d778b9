package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer/internal/testenv"
)

// Debian sorts the versions as Go does. "~" sorts before the end of a version.
func TestDebVersion(t *testing.T) {
	versions := []struct{ v, want string }{
		{"v0.0.0-20260131201504-0123456789ab", "0.0.0~20260131201504.0123456789ab"},
		{"v1.2.3-rc.1", "1.2.3~rc.1"},
		{"v1.2.3", "1.2.3"},
		{"v1.2.3+build.7", "1.2.3+build.7"},
		{"v1.2.4-0.20260131201504-0123456789ab", "1.2.4~0.20260131201504.0123456789ab"},
		{"v1.2.4", "1.2.4"},
		{"v1.10.0", "1.10.0"},
	}
	for _, c := range versions {
		if got := debVersion(c.v); got != c.want {
			t.Errorf("%s is %s, want %s", c.v, got, c.want)
		}
	}
	if _, err := exec.LookPath("dpkg"); err != nil {
		testenv.NotRun(t, "%v", err)
	}
	for i := range versions[1:] {
		a, b := versions[i].want, versions[i+1].want
		if out, err := exec.Command("dpkg", "--compare-versions", a, "lt", b).CombinedOutput(); err != nil {
			t.Errorf("for dpkg %s is not before %s: %v %s", a, b, err, out)
		}
	}
}

// An archive's bytes do not depend on when, by whom and with which umask its
// files were written.
func TestArchives(t *testing.T) {
	at := time.Date(2026, 1, 31, 20, 15, 4, 0, time.UTC)
	var tars, zips [][]byte
	for i, modes := range [][2]fs.FileMode{{0o644, 0o755}, {0o600, 0o711}} {
		dir := t.TempDir()
		for name, mode := range map[string]fs.FileMode{"b/text": modes[0], "a": modes[0], "b/tool": modes[1]} {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(name), mode); err != nil {
				t.Fatal(err)
			}
			stamp := at.AddDate(i, 0, 0)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
		}
		files := tree{}
		if err := files.addAll("x", dir); err != nil {
			t.Fatal(err)
		}
		for _, a := range []struct {
			all   *[][]byte
			write func(to, folder string, at time.Time) error
		}{{&tars, files.writeTar}, {&zips, files.writeZip}} {
			to := filepath.Join(t.TempDir(), "archive")
			if err := a.write(to, "foyer-1", at); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			*a.all = append(*a.all, data)
		}
	}
	if !bytes.Equal(tars[0], tars[1]) || !bytes.Equal(zips[0], zips[1]) {
		t.Error("the archives differ")
	}
	want := []string{"foyer-1/x/a 644", "foyer-1/x/b/text 644", "foyer-1/x/b/tool 755"}
	if runtime.GOOS == "windows" {
		want[2] = "foyer-1/x/b/tool 644"
	}
	if got := inTar(t, tars[0], at); !slices.Equal(got, want) {
		t.Errorf("the tar has %q", got)
	}
	z, err := zip.NewReader(bytes.NewReader(zips[0]), int64(len(zips[0])))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range z.File {
		if name, _, _ := strings.Cut(want[i], " "); f.Name != name || !f.Modified.Equal(at) {
			t.Errorf("the zip has %s of %v", f.Name, f.Modified)
		}
	}
}

// inTar returns names and modes of the files in a tar.gz, all of which are of the
// time at and belong to nobody in particular.
func inTar(t *testing.T, data []byte, at time.Time) (names []string) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(unzipped); ; {
		h, err := in.Next()
		if err == io.EOF {
			return names
		} else if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(at) || h.Uid != 0 || h.Gid != 0 || h.Uname+h.Gname != "" {
			t.Errorf("%s is of %v, of %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		names = append(names, h.Name+" "+string([]byte{'0' + byte(h.Mode>>6&7), '0' + byte(h.Mode>>3&7), '0' + byte(h.Mode&7)}))
	}
}

// A release made twice, from two folders, is the same, byte for byte; and it has
// everything in it.
func TestRelease(t *testing.T) {
	for _, tool := range []string{"git", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.NotRun(t, "%v", err)
		}
	}
	nfpm := exec.Command("go", "mod", "download")
	nfpm.Dir = "nfpm"
	if out, err := nfpm.CombinedOutput(); err != nil {
		testenv.NotRun(t, "nfpm cannot be had: %v\n%s", err, out)
	}
	at := time.Date(2026, 1, 31, 20, 15, 4, 0, time.UTC)
	var releases []map[string][]byte
	for _, name := range []string{"one", "another, with spaces"} {
		repo := filepath.Join(t.TempDir(), name)
		commitAll(t, repo, at)
		into := filepath.Join(t.TempDir(), "dist")
		// As make dist does; in this process the race detector would see each byte.
		dist := exec.Command("go", "run", "./internal/dist", "-only", "linux/amd64", into)
		dist.Dir = repo
		if out, err := dist.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		releases = append(releases, contents(t, into))
	}
	var names []string
	for name, data := range releases[0] {
		names = append(names, name)
		if !bytes.Equal(data, releases[1][name]) {
			t.Errorf("%s differs", name)
		}
	}
	slices.Sort(names)
	if want := []string{"SHA256SUMS", "foyer-1.2.3-linux-amd64.tar.gz", "foyer_1.2.3_amd64.deb"}; !slices.Equal(names, want) || len(releases[1]) != len(want) {
		t.Fatalf("made %q, want %q", names, want)
	}

	inArchive := inTar(t, releases[0][names[1]], at)
	for _, want := range []string{
		"registry 755", "roomd 755", "playerctl 755", "README.md 644", "LICENSE 644", "THIRD-PARTY-LICENSES 644", "docs/protocol.md 644",
		"man/registry.1 644", "man/registry-serve.1 644", "man/roomd.1 644", "man/playerctl.1 644",
		"completions/bash/registry 644", "completions/zsh/_roomd 644", "completions/fish/playerctl.fish 644",
		"deploy/systemd/foyer-registry.service 644", "deploy/prometheus/foyer.rules.yml 644",
	} {
		if !slices.Contains(inArchive, "foyer-1.2.3-linux-amd64/"+want) {
			t.Errorf("the archive has no %s", want)
		}
	}

	deb := filepath.Join(t.TempDir(), names[2])
	if err := os.WriteFile(deb, releases[0][names[2]], 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dpkg-deb", append(args, deb)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-deb %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := dpkg("--show", "--showformat", "${Package} ${Version} ${Architecture}", "--"); got != "foyer 1.2.3 amd64" {
		t.Errorf("the package is %s", got)
	}
	inDeb := dpkg("--contents")
	for _, want := range []string{
		"-rwxr-xr-x root/root", " ./usr/bin/registry\n", " ./usr/bin/roomd\n", " ./usr/bin/playerctl\n",
		" ./usr/lib/systemd/system/foyer-registry.service\n", " ./usr/lib/systemd/system/foyer-room@.service\n",
		" ./usr/share/man/man1/registry-serve.1.gz\n", " ./usr/share/bash-completion/completions/registry\n",
		" ./usr/share/zsh/vendor-completions/_registry\n", " ./usr/share/fish/vendor_completions.d/registry.fish\n",
		" ./etc/default/foyer-registry\n", " ./usr/share/doc/foyer/copyright\n", " ./usr/share/doc/foyer/changelog.gz\n",
	} {
		if !strings.Contains(inDeb, want) {
			t.Errorf("the package has no %q:\n%s", want, inDeb)
		}
	}
	unpacked := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "--raw-extract", deb, unpacked).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(unpacked, "DEBIAN/conffiles")); err != nil || string(text) != "/etc/default/foyer-registry\n" {
		t.Errorf("conffiles: %q, %v", text, err)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.Command("sh", "-n", filepath.Join(unpacked, "DEBIAN", script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	zipped, err := os.ReadFile(filepath.Join(unpacked, "usr/share/man/man1/registry-serve.1.gz"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	if page, err := io.ReadAll(in); err != nil || !bytes.Contains(page, []byte(`\fB--listen\fP`)) || !bytes.Contains(page, []byte("Jan 2026")) {
		t.Errorf("the manual page: %v\n%s", err, page)
	}
	if runtime.GOOS+runtime.GOARCH == "linuxamd64" {
		for _, p := range programs {
			if out, err := exec.Command(filepath.Join(unpacked, "usr/bin", p), "--version").Output(); err != nil || !strings.HasPrefix(string(out), p+" v1.2.3 go") {
				t.Errorf("%s --version: %q, %v", p, out, err)
			}
		}
	}
}

// commitAll puts what is in this repository's folder into a new one, committed at
// a time and tagged v1.2.3.
func commitAll(t *testing.T, repo string, at time.Time) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "bin", "build"}, name), d.Name() == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(repo, name), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(repo, name), data, info.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	stamp := at.Format(time.RFC3339)
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "all"}, {"tag", "v1.2.3"}} {
		c := exec.Command("git", args...)
		c.Dir = repo
		c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_DATE="+stamp, "GIT_COMMITTER_DATE="+stamp,
			"GIT_AUTHOR_NAME=Foyer", "GIT_AUTHOR_EMAIL=foyer@localhost", "GIT_COMMITTER_NAME=Foyer", "GIT_COMMITTER_EMAIL=foyer@localhost")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
