package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"foyer/internal/testenv"
)

// TestVersion builds the programs in a repository of its own, like somebody who
// has checked out a release: --version is the tag of the commit or, if it has
// none, Go's pseudo-version.
func TestVersion(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		testenv.NotRun(t, "%v", err)
	}
	dir := t.TempDir()
	copySources(t, dir)
	env := append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Foyer", "GIT_AUTHOR_EMAIL=foyer@localhost", "GIT_COMMITTER_NAME=Foyer", "GIT_COMMITTER_EMAIL=foyer@localhost")
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		return string(out)
	}
	versions := func() (all []string) {
		run("go", "build", "-buildvcs=true", "-o", "bin/", "./registry", "./roomd", "./playerctl")
		for _, program := range []string{"registry", "roomd", "playerctl"} {
			name, version, _ := strings.Cut(run(filepath.Join(dir, "bin", program), "--version"), " ")
			if name != program {
				t.Errorf("%s calls itself %s", program, name)
			}
			version, _, _ = strings.Cut(version, " ")
			all = append(all, version)
		}
		return slices.Compact(all)
	}
	run("git", "init", "-q")
	run("git", "add", ".")
	run("git", "commit", "-q", "-m", "all")
	commit := strings.TrimSpace(run("git", "rev-parse", "--short=12", "HEAD"))
	if got := versions(); len(got) != 1 || !strings.HasPrefix(got[0], "v0.0.0-") || !strings.HasSuffix(got[0], "-"+commit) {
		t.Errorf("without a tag: %q of commit %s", got, commit)
	}
	run("git", "tag", "v0.0.1")
	if got := versions(); !slices.Equal(got, []string{"v0.0.1"}) {
		t.Errorf("tagged v0.0.1: %q", got)
	}
}

// copySources copies the sources of the programs.
func copySources(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "build", "bench", "docs", "node_modules", "testdata"}, d.Name())):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		case !d.Type().IsRegular(), strings.HasSuffix(path, "_test.go"), path == ".git": // a file, in a worktree: git would commit there
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o644)
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(to, ".gitignore"), []byte("bin/\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
