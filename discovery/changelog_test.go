package discovery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"foyer"
	"foyer/storage/storetest"
)

type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// logged starts the bench's server anew with a log, and returns a function that
// returns what was logged since it was last called.
func (b *bench) logged() func() []string {
	var log locked
	b.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	b.restart()
	return func() []string {
		time.Sleep(2 * time.Second) // so that the second is over
		log.mu.Lock()
		defer log.mu.Unlock()
		lines := strings.Split(strings.TrimSpace(log.text.String()), "\n")
		log.text.Reset()
		return lines
	}
}

func TestLogOfChanges(t *testing.T) {
	run(t, func(b *bench) {
		read := b.logged()
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Foyer"), "OK")
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:3", "Foyer"), foyer.NotOwner)
		b.expectCode(b.signed(1, "", "DEREGISTER Foyer"), "OK")
		b.expectCode("@ttl=5 REGISTER room://192.0.2.10:3 Hall", "OK")
		b.expectCode("@x= REGISTER room://192.0.2.10:4 Inn", "OK")
		if _, err := b.server.Evict(context.Background(), "Inn", 0); err != nil {
			t.Error(err)
		}
		want := []string{
			"msg=registered name=Foyer address=room://192.0.2.10:1 from=192.0.2.10",
			"msg=replaced name=Foyer address=room://192.0.2.10:2 from=192.0.2.10",
			"msg=deregistered name=Foyer address=room://192.0.2.10:2 from=192.0.2.10",
			"msg=registered name=Hall address=room://192.0.2.10:3 from=192.0.2.10",
			"msg=registered name=Inn address=room://192.0.2.10:4 from=192.0.2.10",
			`msg="evicted by the operator" name=Inn address=room://192.0.2.10:4`,
		}
		if got := read(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("logged\n%s", strings.Join(got, "\n"))
		}
		time.Sleep(10 * time.Second)
		if got := read(); len(got) != 1 || got[0] != `msg="lease expired" name=Hall address=room://192.0.2.10:3` {
			t.Errorf("at the lease's end logged %q", got)
		}

		// What did not become durable is not logged, nor what may have.
		b.store.Fail(storetest.Refused)
		b.expectCode("@x= REGISTER room://192.0.2.10:5 Attic", foyer.Unavailable)
		b.store.Fail(storetest.Lost)
		b.send("192.0.2.10", "@x= REGISTER room://192.0.2.10:6 Cellar")
		if got := strings.Join(read(), "\n"); strings.Contains(got, "Attic") || strings.Contains(got, "Cellar") {
			t.Errorf("logged\n%s", got)
		}
	})
}

// However many come and go, a second is a few lines.
func TestLogOfManyChanges(t *testing.T) {
	const rooms = 3000
	run(t, func(b *bench) {
		read := b.logged()
		for i := 0; i < rooms; i += 10 {
			var lines []string
			for j := i; j < i+10; j++ {
				lines = append(lines, fmt.Sprintf("@ttl=30 REGISTER room://192.0.2.10:%d Room %d", j+1, j))
			}
			b.send("192.0.2.10", strings.Join(lines, "\n"))
		}
		got := read()
		time.Sleep(40 * time.Second)
		for what, lines := range map[string][]string{"registered": got, "leases expired": read()} {
			told, counted := 0, 0
			for _, line := range lines {
				var n int
				if _, counts, ok := strings.Cut(line, what+`" count=`); ok {
					fmt.Sscan(counts, &n)
					counted += n
				} else {
					told++
				}
			}
			// They come and go in 7 seconds, at 10 in 20 ms.
			if told+counted != rooms || told > 9*toldPerSecond {
				t.Errorf("%s: of %d, %d were logged and %d counted:\n%s", what, rooms, told, counted, strings.Join(lines, "\n"))
			}
		}
	})
}
