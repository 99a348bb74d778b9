//go:build linux || darwin

package bolt

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"foyer"
)

// TestFileSizeLimit meets the real thing: the kernel refuses to let the file
// grow, in the middle of a commit.
//
// The limit is the process's, so the test is run in one of its own.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv("FOYER_LIMITED") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$")
		child.Env = append(os.Environ(), "FOYER_LIMITED=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := newTroubled(t)
	if err := s.register("before", time.Second); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := old
	limit.Cur = uint64(info.Size())
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	registered, refused := []foyer.Name{"before"}, []foyer.Name(nil)
	for i := 0; len(refused) < 20; i++ {
		if i > 10_000 {
			t.Fatal("the limit does nothing")
		}
		name := foyer.Name(fmt.Sprintf("room-%d", i))
		if err := s.register(name, time.Second); err == nil {
			registered = append(registered, name)
		} else {
			s.wantUnavailable(err)
			refused = append(refused, name)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := s.register("after", 0); err != nil {
		t.Errorf("with the limit gone: %v", err)
	}
	registered = append(registered, "after")
	check := func() {
		t.Helper()
		for _, name := range registered {
			s.want(name, true)
		}
		for _, name := range refused {
			s.want(name, false)
		}
		if s.Len() != len(registered) {
			t.Errorf("Len() = %d, want %d", s.Len(), len(registered))
		}
	}
	check()
	s.Close()
	verify(t, s.path)
	s.Store = openQuick(t, s.path)
	check()
}
