// Package testenv is what tests of several packages know about the machine they
// run on.
package testenv

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// NotRun ends a test that this machine does not allow, because it is not root,
// say, or has no network namespaces. Such a test is neither passed nor passed
// over in silence: "not run: NAME: why" goes into the file that
// FOYER_NOT_RUN names, which `make test` shows at its end. Where everything
// must be possible, with CI set in the environment, the test fails.
//
// It is the only way to skip a test; a rule of the repository sees to that.
func NotRun(t testing.TB, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if os.Getenv("CI") != "" {
		t.Fatalf("not run: %s: %s", t.Name(), why)
	}
	if path := os.Getenv("FOYER_NOT_RUN"); path != "" {
		if err := appendLine(path, fmt.Sprintf("not run: %s: %s\n", t.Name(), why)); err != nil {
			t.Fatal(err)
		}
	}
	t.Skipf("not run: %s", why)
}

// Instead reports that this machine does not allow a test as it should be, and
// that it runs in another way which tests the same: "instead: NAME: how" is
// shown like the lines of [NotRun]. It fails nowhere.
func Instead(t testing.TB, format string, args ...any) {
	t.Helper()
	how := fmt.Sprintf(format, args...)
	t.Logf("instead: %s", how)
	if path := os.Getenv("FOYER_NOT_RUN"); path != "" {
		if err := appendLine(path, fmt.Sprintf("instead: %s: %s\n", t.Name(), strings.ReplaceAll(how, "\n", " "))); err != nil {
			t.Fatal(err)
		}
	}
}

// appendLine is safe against the tests of other packages that run meanwhile:
// a short write to a file opened so is one piece.
func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
