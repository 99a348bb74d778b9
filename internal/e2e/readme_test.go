package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// An example is one command of a document with what it prints. The command has
// a prompt, "$ "; lines that begin with "> " are typed into it.
type example struct {
	line    int
	command string
	typed   string
	output  string
}

// examples returns those of the document's fenced blocks of one language.
func examples(t *testing.T, path, language string) []*example {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*example
	inside, n := false, 0
	for line := range strings.Lines(string(text)) {
		n++
		if strings.HasPrefix(line, "```") {
			inside = strings.TrimSpace(line) == "```"+language
			continue
		}
		if !inside {
			continue
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, &example{line: n, command: strings.TrimSpace(command)})
		} else if typed, ok := strings.CutPrefix(line, "> "); ok && len(all) > 0 {
			all[len(all)-1].typed += typed
		} else if len(all) > 0 {
			all[len(all)-1].output += line
		} else {
			t.Fatalf("%s:%d: output before a command", path, n)
		}
	}
	return all
}

// What differs between runs is compared by its form.
var changing = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\dT[\d:.]+Z`), "TIME"},
	{regexp.MustCompile(`\b\d{8}T\d{6}Z\b`), "TIME"},
	{regexp.MustCompile(`listening on [^/\s]\S*:\d+`), "listening on ADDRESS"},
	{regexp.MustCompile(`http on \S+:\d+`), "http on ADDRESS"},
	{regexp.MustCompile(`(room://[\w.]+):\d+`), "$1:PORT"},
	{regexp.MustCompile(`\b\d+\.\d [KMGT]iB\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+\.\d(/s|,|\n)`), "RATE$1"},
	{regexp.MustCompile(`\blistening  127\.0\.0\.1:\d+`), "listening  ADDRESS"},
	{regexp.MustCompile(`\buptime     [\dhms]+`), "uptime     TIME"},
	{regexp.MustCompile(`\bversion    .* go1\.\S+`), "version    VERSION"},
	{regexp.MustCompile(`(^|[^\w-])[\w-]{43}([^\w-]|$)`), "${1}KEY$2"}, // it may begin with a hyphen
}

func settled(text string) string {
	for _, c := range changing {
		text = c.form.ReplaceAllString(text, c.as)
	}
	return text
}

// A shell runs the examples one after the other, as a reader would.
type shell struct {
	stdin io.Writer
	lines chan string
}

const prompt = "\x01done"

// run carries out a command and returns what it has printed, and for a command
// in the background, what it prints until there are as many lines as expected.
func (s *shell) run(t *testing.T, e *example) string {
	t.Helper()
	fmt.Fprintf(s.stdin, "%s\necho $'\\x01done'\n", e.command)
	var output strings.Builder
	done, wanted := false, strings.Count(e.output, "\n")
	background := strings.HasSuffix(e.command, "&")
	limit := time.After(patience)
	for !done || background && strings.Count(output.String(), "\n") < wanted {
		select {
		case line, open := <-s.lines:
			if !open {
				t.Fatalf("line %d: the shell has ended; %s printed:\n%s", e.line, e.command, output.String())
			}
			if line == prompt+"\n" {
				done = true
			} else {
				output.WriteString(line)
			}
		case <-limit:
			t.Fatalf("line %d: %s does not end; it printed:\n%s", e.line, e.command, output.String())
		}
	}
	return output.String()
}

func TestReadme(t *testing.T) {
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	bash := exec.Command("bash")
	bash.Dir = t.TempDir()
	registry := freePort(t) // instead of the default one, which may be in use
	bash.Env = append(ownEnvironment(),
		"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"XDG_STATE_HOME="+filepath.Join(bash.Dir, "state"),
		"FOYER_LISTEN="+registry, "FOYER_DISCOVERY="+registry, "FOYER_HTTP=127.0.0.1:0")
	stdin, err := bash.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := bash.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	bash.Stderr = &stderr
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{stdin, make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			s.lines <- line
		}
	}()
	defer func() {
		io.WriteString(stdin, "kill $(jobs -p | head -n -1); wait $(jobs -p | head -n -1); kill $(jobs -p); wait; exit\n")
		for range s.lines { // until every program has closed its output
		}
		bash.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("standard error:\n%s", stderr.String())
		}
	}()
	for _, e := range examples(t, "README.md", "console") {
		if strings.HasPrefix(e.command, "make ") {
			continue // TestMakePlay
		}
		if got := s.run(t, e); settled(got) != settled(e.output) {
			t.Errorf("README.md:%d: %s prints:\n%s\nbut the example says:\n%s", e.line, e.command, got, e.output)
		}
	}
}

// ownEnvironment is the environment without the user's settings.
func ownEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "FOYER_") || strings.HasPrefix(v, "MAKE")
	})
}

// freePort returns an address of UDP on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// TestMakePlay plays what the README shows, from a pipe, and checks that
// nothing is left behind.
func TestMakePlay(t *testing.T) {
	for _, e := range examples(t, "README.md", "console") {
		if !strings.HasPrefix(e.command, "make ") {
			continue
		}
		tmp := t.TempDir()
		play := exec.Command("bash", "-c", e.command)
		play.Env = append(ownEnvironment(), "TMPDIR="+tmp)
		play.Stdin = strings.NewReader(e.typed)
		var stdout, stderr bytes.Buffer
		play.Stdout, play.Stderr = &stdout, &stderr
		if err := play.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("README.md:%d: %s: %v\n%s", e.line, e.command, err, stderr.String())
		}
		if got := stdout.String(); got != e.output {
			t.Errorf("README.md:%d: %s prints:\n%s\nbut the example says:\n%s", e.line, e.command, got, e.output)
		}
		left, err := filepath.Glob(filepath.Join(tmp, "foyer-play-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s left %q behind, %v", e.command, left, err)
		}
	}
}

// Every make target that the README names exists.
func TestReadmeTargets(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\bmake ([a-z-]+)`).FindAllSubmatch(readme, -1) {
		if !regexp.MustCompile(`(?m)^` + string(m[1]) + `:`).Match(makefile) {
			t.Errorf("the Makefile has no target %s", m[1])
		}
	}
}

// The links of the documents lead to existing files.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)[^):]*\)`)
	for _, page := range append(pages, "README.md", "CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(page), string(m[1]))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
