//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMakePlayStopped stops `make play` in each possible way. The player always
// leaves properly and nothing is left behind.
func TestMakePlayStopped(t *testing.T) {
	for _, how := range []struct {
		name string
		stop func(play *exec.Cmd) error
	}{
		// Ctrl-C on a terminal goes to everybody in the foreground.
		{"Ctrl-C", func(p *exec.Cmd) error { return syscall.Kill(-p.Process.Pid, syscall.SIGINT) }},
		{"SIGTERM to make", func(p *exec.Cmd) error { return p.Process.Signal(syscall.SIGTERM) }},
		{"SIGTERM to all", func(p *exec.Cmd) error { return syscall.Kill(-p.Process.Pid, syscall.SIGTERM) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			tmp := t.TempDir()
			play := exec.Command("make", "-s", "play")
			play.Env = append(ownEnvironment(), "TMPDIR="+tmp)
			play.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var stderr bytes.Buffer
			play.Stderr = &stderr
			stdin, err := play.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stdin.Close()
			out, err := play.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := play.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(2*time.Minute, func() { syscall.Kill(-play.Process.Pid, syscall.SIGKILL) })
			defer timer.Stop()
			stdin.Write([]byte("take lamp\n"))
			var shown strings.Builder
			for r := bufio.NewScanner(out); r.Scan(); {
				shown.WriteString(r.Text() + "\n")
				if r.Text() == "lamp taken" {
					if err := how.stop(play); err != nil {
						t.Fatal(err)
					}
				}
			}
			play.Wait() // make's status reflects the signal
			if !strings.HasSuffix(shown.String(), "lamp taken\nlamp dropped\nGoodbye\n") {
				t.Errorf("shown:\n%s\nstandard error:\n%s", shown.String(), stderr.String())
			}
			if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if left := runningIn(tmp); left != "" {
				t.Errorf("still running: %s", left)
			}
		})
	}
}

// A player may have any name, even that of a command or a flag.
func TestMakePlayNames(t *testing.T) {
	for _, name := range []string{"completion", "--help"} {
		play := exec.Command("make", "-s", "play")
		play.Env = append(ownEnvironment(), "TMPDIR="+t.TempDir(), "PLAYER="+name)
		play.Stdin = strings.NewReader("take lamp\n")
		out, err := play.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "lamp taken\nlamp dropped\nGoodbye\n") {
			t.Errorf("%q: %v:\n%s", name, err, out)
		}
	}
}

// runningIn returns the command lines that contain a folder's name, if the
// system has /proc.
func runningIn(dir string) string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return strings.Join(found, "; ")
}
