package testenv_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"foyer/internal/testenv"
)

// A recorder stands in for a test.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Name() string          { return "TestOfRoot" }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; runtime.Goexit() }
func (r *recorder) Skipf(string, ...any)  { r.skipped = true; runtime.Goexit() }

func notRun(t *testing.T) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		testenv.NotRun(r, "needs %s", "root")
	}()
	<-done
	return r
}

func TestNotRun(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	t.Setenv("FOYER_NOT_RUN", list)

	t.Setenv("CI", "true")
	if r := notRun(t); !r.failed || r.skipped {
		t.Errorf("in CI: %+v", r)
	}
	t.Setenv("CI", "")
	for range 2 {
		if r := notRun(t); r.failed || !r.skipped {
			t.Errorf("elsewhere: %+v", r)
		}
	}
	testenv.Instead(&recorder{TB: t}, "by hand:\n%d", 1)
	got, err := os.ReadFile(list)
	want := "not run: TestOfRoot: needs root\nnot run: TestOfRoot: needs root\ninstead: TestOfRoot: by hand: 1\n"
	if err != nil || string(got) != want {
		t.Errorf("reported %q, %v", got, err)
	}
}
