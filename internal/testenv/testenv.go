// Package testenv gives tests their seed, and lets them report what the machine
// does not allow.
package testenv

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Seed returns the seed of a random test and logs it: the value of FOYER_SEED,
// a decimal number, where that is set, so that a run can be repeated.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("FOYER_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("FOYER_SEED: %v", err)
		}
	}
	t.Logf("FOYER_SEED=%d", seed)
	return seed
}

// NotRun ends a test that this machine does not allow, because it is not root,
// say, or has no network namespaces. Such a test neither passes nor is skipped
// silently: "not run: NAME: why" goes into the file that FOYER_NOT_RUN names,
// which `make test` shows at its end. With CI set in the environment, where
// everything must be possible, the test fails.
//
// It is the only way to skip a test: a rule of the repository checks that.
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

// Instead reports that this machine does not allow a test as intended, and that
// it runs in another way that tests the same: "instead: NAME: how" is shown
// like the lines of [NotRun]. It never fails the test.
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

// appendLine may run at the same time in tests of other packages: short writes
// in append mode are atomic.
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
