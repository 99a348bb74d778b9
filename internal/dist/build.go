package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

var programs = []string{"registry", "roomd", "playerctl"}

// A release is what all files of a release have in common.
type release struct {
	source  string    // the clone
	work    string    // a folder for everything else
	time    time.Time // of the commit
	version string    // as the programs say it, such as v1.2.3
}

// prepare clones the repository at repo into work, and makes there what does not
// depend on the target: manual pages and completions.
func prepare(repo, work string) (*release, error) {
	r := &release{source: filepath.Join(work, "source"), work: work}
	repo, err := filepath.Abs(repo)
	if err != nil {
		return nil, err
	}
	if _, err := r.output(work, nil, "git", "clone", "--quiet", "--shared", repo, r.source); err != nil {
		return nil, err
	}
	stamp, err := r.output(r.source, nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return nil, err
	}
	r.time = time.Unix(seconds, 0).UTC()

	host := filepath.Join(work, "host")
	if err := r.build(target{runtime.GOOS, runtime.GOARCH}, host); err != nil {
		return nil, err
	}
	name := programs[0]
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	info, err := buildinfo.ReadFile(filepath.Join(host, name))
	if err != nil {
		return nil, err
	}
	if r.version = info.Main.Version; !strings.HasPrefix(r.version, "v") {
		return nil, fmt.Errorf("git has not told Go the version, which is %q", r.version)
	}
	return r, errors.Join(r.writeManual(), r.writeCompletions(host))
}

// output runs a command in a folder and returns what it prints, without the end of
// the line.
func (r *release) output(dir string, env []string, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(c.Args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

// goEnv replaces what users may have set for themselves.
func goEnv(t target) []string {
	return []string{"GOOS=" + t.os, "GOARCH=" + t.arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off",
		"GOAMD64=v1", "GOARM64=v8.0"}
}

// build builds the programs for t into the folder to.
func (r *release) build(t target, to string) error {
	args := []string{"build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", to + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./"+p)
	}
	_, err := r.output(r.source, goEnv(t), "go", args...)
	return err
}

func (r *release) writeManual() error {
	dir := filepath.Join(r.work, "man")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	env := append(goEnv(target{runtime.GOOS, runtime.GOARCH}), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix()))
	for _, p := range programs {
		if _, err := r.output(r.source, env, "go", "run", "-tags", "manpages", "./"+p, dir); err != nil {
			return err
		}
	}
	return nil
}

// completions says what each shell's files are called.
var completions = map[string]string{"bash": "%s", "zsh": "_%s", "fish": "%s.fish", "powershell": "%s.ps1"}

func (r *release) writeCompletions(host string) error {
	for shell, form := range completions {
		dir := filepath.Join(r.work, "completions", shell)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, p := range programs {
			script, err := r.output(r.work, nil, filepath.Join(host, p), "completion", shell)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(form, p)), []byte(script+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// release makes the files for one target: an archive, and for Linux a package.
func (r *release) release(t target, into string) error {
	bin := filepath.Join(r.work, t.os+"-"+t.arch)
	if err := r.build(t, bin); err != nil {
		return err
	}
	notices, err := r.notices(t)
	if err != nil {
		return err
	}
	files := tree{}
	for _, p := range programs {
		if t.os == "windows" {
			p += ".exe"
		}
		files.add(p, filepath.Join(bin, p), 0o755)
	}
	for _, name := range []string{"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "CONTRIBUTING.md"} {
		files.add(name, filepath.Join(r.source, name), 0o644)
	}
	files["THIRD-PARTY-LICENSES"] = file{data: notices, mode: 0o644}
	err = errors.Join(
		files.addAll("docs", filepath.Join(r.source, "docs")),
		files.addAll("deploy", filepath.Join(r.source, "deploy")),
		files.addAll("man", filepath.Join(r.work, "man")),
		files.addAll("completions", filepath.Join(r.work, "completions")),
	)
	if err != nil {
		return err
	}
	name := "foyer-" + strings.TrimPrefix(r.version, "v") + "-" + t.os + "-" + t.arch
	if t.os == "windows" {
		return files.writeZip(filepath.Join(into, name+".zip"), name, r.time)
	}
	if err := files.writeTar(filepath.Join(into, name+".tar.gz"), name, r.time); err != nil || t.os != "linux" {
		return err
	}
	return r.writeDeb(t, files, into)
}

// notices returns the licences of what the programs are built of, which have to go
// along with them: Go's own, and those of the modules.
func (r *release) notices(t target) ([]byte, error) {
	args := []string{"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}"}
	for _, p := range programs {
		args = append(args, "./"+p)
	}
	list, err := r.output(r.source, goEnv(t), "go", args...)
	if err != nil {
		return nil, err
	}
	root, err := r.output(r.source, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	modules := append(strings.Split(list, "\n"), "Go, runtime and standard library\t"+root)
	slices.Sort(modules)
	var all bytes.Buffer
	fmt.Fprintf(&all, "The programs contain these modules, under these licences.\n")
	for _, line := range slices.Compact(modules) {
		module, dir, _ := strings.Cut(line, "\t")
		if dir == "" {
			continue
		}
		fmt.Fprintf(&all, "\n%s\n%s\n", strings.Repeat("=", 79), module)
		found := 0
		for _, pattern := range []string{"LICENSE*", "COPYING*", "NOTICE*"} {
			paths, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, path := range paths {
				text, err := os.ReadFile(path)
				if err != nil {
					return nil, err
				}
				found++
				fmt.Fprintf(&all, "\n%s\n", bytes.TrimRight(text, "\n"))
			}
		}
		if found == 0 {
			return nil, fmt.Errorf("%s has no licence in %s", module, dir)
		}
	}
	return all.Bytes(), nil
}
