//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// completions returns what a shell is given for the last of args.
func completions(t *testing.T, args ...string) []string {
	t.Helper()
	stdout, _, status := output(append([]string{"__complete"}, args...)...)
	names, ok := strings.CutSuffix(stdout, ":4\n") // no files
	if status != 0 || !ok {
		t.Errorf("completing %q: status %d, %q", args, status, stdout)
	}
	return strings.FieldsFunc(names, func(r rune) bool { return r == '\n' })
}

// dumpOf is a dump of rooms of these names.
func dumpOf(names ...string) string {
	var dump strings.Builder
	for i, name := range names {
		fmt.Fprintf(&dump, `{"name":%q,"address":"room://127.0.0.1:%d","registered_at":"2026-01-31T20:15:04Z","ttl_seconds":0,"owner":""}`+"\n", name, 1+i)
	}
	return dump.String()
}

// Names complete from the running registry, and a shell does not wait when there is
// none.
func TestCompleteNames(t *testing.T) {
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("room %d", i)
	}
	names := append(many, "Great Hall", "Great House", `Inn "Old"`, "It's here")
	if _, stderr, status := output("import", "--store", store, writeFile(t, folder, "dump", dumpOf(names...))); status != 0 {
		t.Fatal(stderr)
	}
	for _, command := range []string{"explain", "evict", "list", "watch"} {
		for prefix, want := range map[string][]string{"Great H": {"Great Hall", "Great House"}, "I": {`Inn "Old"`, "It's here"}, "great": nil} {
			if got := completions(t, command, "--store", store, prefix); !slices.Equal(got, want) {
				t.Errorf("%s %q completes to %q", command, prefix, got)
			}
		}
	}
	if got := completions(t, "explain", "--store", store, ""); len(got) != mostCompletions {
		t.Errorf("%d completions", len(got))
	}
	if got := completions(t, "explain", "--store", store, "Great Hall", ""); len(got) > 0 {
		t.Errorf("behind the name comes %q", got)
	}
	if _, stderr, status := output("evict", "--store", store, "--for", "1h", "It's here"); status != 0 {
		t.Fatal(stderr)
	}
	if got := completions(t, "allow", "--store", store, ""); !slices.Equal(got, []string{"It's here"}) {
		t.Errorf("allow completes to %q", got)
	}
	t.Setenv("FOYER_STORE", store)
	for _, command := range []string{"explain", "lookup"} {
		if got := completions(t, command, "Great Ha"); !slices.Equal(got, []string{"Great Hall"}) {
			t.Errorf("%s completes to %q", command, got)
		}
	}

	p.suspend(t)
	began := time.Now()
	if got := completions(t, "explain", ""); len(got) > 0 || time.Since(began) > answerTimeout/2 {
		t.Errorf("a registry that is stopped completes to %q, after %v", got, time.Since(began))
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	p.stop(t)
	if got := completions(t, "explain", ""); len(got) > 0 {
		t.Errorf("without a registry it completes to %q", got)
	}
}

// Bash inserts names so that they are one argument, also what several have in common.
func TestCompleteInBash(t *testing.T) {
	folder := t.TempDir()
	store := filepath.Join(folder, "rooms.db")
	serveProcess(t, store, "127.0.0.1:0")
	if _, stderr, status := output("import", "--store", store, writeFile(t, folder, "dump", dumpOf("Great Hall", "Great House", `Inn "Old"`, "It's here", "$HOME", "a:b"))); status != 0 {
		t.Fatal(stderr)
	}
	for typed, want := range map[string][]string{
		`Great\ Ho`: {`Great\ House`},
		`Great\ H`:  {`Great\ Hall`, `Great\ House`},
		"In":        {`Inn\ \"Old\"`},
		"It":        {`It\'s\ here`},
		`\$H`:       {`\$HOME`},
		"nobody":    nil,
	} {
		// What the package bash-completion does, without it.
		c := exec.Command("bash", "-c", `
			registry() { FOYER_TEST_REGISTRY=1 "$PROGRAM" "$@"; }
			_get_comp_words_by_ref() { words=(registry explain "$TYPED"); cword=2 cur=$TYPED prev=explain; }
			source <(registry completion bash)
			COMP_TYPE=9 COMP_LINE="registry explain $TYPED"
			compopt() { :; }
			__start_registry 2>/dev/null
			printf '%s\n' "${COMPREPLY[@]}"`)
		c.Env = append(os.Environ(), "PROGRAM="+os.Args[0], "TYPED="+typed, "FOYER_STORE="+store)
		out, err := c.Output()
		got := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s completes to %q, %v, want %q", typed, got, err, want)
		}
	}
}
