//go:build unix

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStalledRegistry stops a registry for longer than its leases last and lets
// it go on, as suspending its machine does. No lease has run out by then: each
// runs on for its whole length, in which its room can renew it. Afterwards they
// do run out.
func TestStalledRegistry(t *testing.T) {
	t.Parallel()
	const rooms, ttl, stall = 20, 5 * time.Second, 7 * time.Second
	p := serveProcess(t, filepath.Join(t.TempDir(), "rooms.db"), "127.0.0.1:0")
	w := &worker{conn: dial(t, p.addr)}
	ask := func(line string) string {
		t.Helper()
		reply, err := w.ask("@id=" + newID() + line)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	address := func(i int) string { return fmt.Sprintf("room://192.0.2.1:%d", i+1) }
	for i := range rooms {
		if reply := ask(fmt.Sprintf(";ttl=%d REGISTER %s Room %d", int(ttl.Seconds()), address(i), i)); !strings.HasSuffix(reply, " OK") {
			t.Fatal(reply)
		}
	}
	p.suspend(t)
	<-time.After(stall) // what is tested is the time itself
	resumed := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	// A room that renews in time stays; it does so twice while the others end.
	expired := map[int]time.Duration{}
	renewed := resumed
	for len(expired) < rooms-1 {
		if time.Since(resumed) > patience {
			t.Fatalf("after %v only %d of %d leases have run out", patience, len(expired), rooms-1)
		}
		for i := range rooms {
			if _, gone := expired[i]; gone {
				continue
			}
			reply := ask(fmt.Sprintf(" LOOKUP Room %d", i))
			switch after := time.Since(resumed); {
			case strings.HasSuffix(reply, " OK "+address(i)):
			case !strings.Contains(reply, "code=unknown-name"):
				t.Fatal(reply)
			case i == 0:
				t.Fatalf("the lease that was renewed ran out after %v", after)
			default:
				expired[i] = after
				if after < ttl {
					t.Errorf("the lease of room %d ran out %v after the stall", i, after)
				}
			}
		}
		if time.Since(renewed) > ttl/5 {
			renewed = time.Now()
			if reply := ask(" RENEW " + address(0) + " Room 0"); !strings.HasSuffix(reply, " OK") {
				t.Fatalf("the renewal got %q", reply)
			}
		}
		<-time.After(20 * time.Millisecond) // between looks
	}
}
