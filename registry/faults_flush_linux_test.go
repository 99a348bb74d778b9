package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"foyer/internal/testenv"
)

// failFlushes makes the flushes of a process fail, of each of its threads from the
// one numbered first on, until the function that it returns is called.
func failFlushes(t *testing.T, p *process, first int) (end func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		testenv.NotRun(t, "strace is missing")
	}
	c := exec.Command(strace, "-f", "-p", strconv.Itoa(p.cmd.Process.Pid), "-o", "/dev/null", "-e", "trace=fdatasync",
		"-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d+", first))
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stderr)
	line, err := out.ReadString('\n')
	if !strings.Contains(line, "attached") {
		_ = c.Process.Kill()
		_ = c.Wait()
		testenv.NotRun(t, "strace cannot trace: %q, %v", line, err)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, out)
		close(ended)
	}()
	return func() {
		_ = c.Process.Signal(syscall.SIGINT)
		<-ended
		_ = c.Wait()
	}
}

// A commit of which the last flush fails may have happened or not. As long as that
// is not known, neither its requests nor their retries are told anything, and the
// operator is told that it is not known.
func TestFlushesFail(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	w := &worker{conn: dial(t, p.addr)}
	// Which of a thread's flushes is the second of a commit is chance.
	for try := 1; ; try++ {
		name := fmt.Sprintf("Room %d", try)
		request := fmt.Sprintf("@id=%s;ttl=600 REGISTER room://192.0.2.1:%d %s", newID(), try, name)
		restore := failFlushes(t, p, 2)
		doubted := true
		for range 8 {
			if reply, ok := w.try(request, 300*time.Millisecond); ok {
				doubted = false // a commit that failed before it was written, or did not fail
				t.Logf("try %d: %s", try, reply)
				break
			}
		}
		if doubted {
			out, err := registryCommand("evict", "--store", store, name).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "cannot be said") {
				t.Errorf("evict: %v: %s", err, out)
			}
		}
		restore()
		if !doubted && try < 50 {
			continue
		}
		if !doubted {
			t.Fatal("no transaction came to be in doubt")
		}
		if reply, err := w.ask(request); err != nil || !strings.HasSuffix(reply, " OK") {
			t.Errorf("when the disk was back, the retry got %q, %v", reply, err)
		}
		if reply, err := w.ask("@id=" + newID() + " LOOKUP " + name); err != nil || !strings.Contains(reply, " OK ") {
			t.Errorf("the look-up got %q, %v", reply, err)
		}
		return
	}
}
