package command_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"foyer/internal/command"
)

// daemon is a command that runs serve with a logger.
func daemon(serve func(*slog.Logger) error) *cobra.Command {
	c := &cobra.Command{Use: "daemon"}
	logging := command.LogFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error { return serve(command.NewLogger(c, logging)) }
	return c
}

func TestLogger(t *testing.T) {
	status, stdout, stderr := run(daemon(func(log *slog.Logger) error {
		log.Debug("unseen")
		log.Info("said", "text", "a\nb \x1b[2J")
		return errors.New("it went wrong")
	}))
	lines := strings.Split(stderr, "\n")
	if status != command.Failed || stdout != "" || len(lines) != 3 || lines[1] != "daemon: it went wrong" ||
		!strings.Contains(lines[0], `msg=said text="a\nb \x1b[2J"`) {
		t.Errorf("status %d, %q, logged %q", status, stdout, stderr)
	}
}

// With --log-format json each line is an object, also the one that says how many are
// missing.
func TestLogFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr, w := io.Pipe()
		logged := make(chan bool)
		go func() {
			command.Run(context.Background(), daemon(func(log *slog.Logger) error {
				for range 2000 {
					log.Info("said", "text", "a\nb", "after", 30*time.Second)
				}
				logged <- true
				return nil
			}), []string{"--log-format", "json"}, strings.NewReader(""), io.Discard, w)
			w.Close()
		}()
		<-logged
		dropped := 0
		for in := bufio.NewScanner(stderr); in.Scan(); {
			var line struct{ Time, Level, Msg, Text, After string }
			if err := json.Unmarshal(in.Bytes(), &line); err != nil || line.Time == "" {
				t.Errorf("%s: %v", in.Text(), err)
			}
			if strings.HasSuffix(line.Msg, " log lines were dropped: standard error was not read") && line.Level == "WARN" {
				dropped++
			} else if line.Msg != "said" || line.Level != "INFO" || line.Text != "a\nb" || line.After != "30s" {
				t.Errorf("got %s", in.Text())
			}
		}
		if dropped != 1 {
			t.Errorf("%d lines say how many are missing", dropped)
		}
	})
	if status, _, stderr := run(daemon(func(*slog.Logger) error { return nil }), "--log-format", "xml"); status != command.Misuse || !strings.Contains(stderr, "text or json") {
		t.Errorf("xml: status %d, %q", status, stderr)
	}
}

// A reader of standard error that stops does not stop the daemon. When it reads
// again, every line is there or counted in its place.
func TestStuckReader(t *testing.T) {
	const lines = 5000
	synctest.Test(t, func(t *testing.T) {
		stderr, w := io.Pipe()
		logged, more := make(chan bool), make(chan bool)
		status := make(chan int)
		go func() {
			status <- command.Run(context.Background(), daemon(func(log *slog.Logger) error {
				for i := range lines {
					log.Info("event", "n", i)
				}
				logged <- true
				<-more
				log.Info("event", "n", lines)
				return errors.New("it went wrong")
			}), nil, strings.NewReader(""), io.Discard, w)
			w.Close()
		}()
		<-logged // blocks for ever, a failure of the bubble, if logging waits for the reader
		in := bufio.NewScanner(stderr)
		seen, dropped := 0, 0
		read := func() string {
			if !in.Scan() {
				t.Fatalf("the log ends after %d lines: %v", seen, in.Err())
			}
			return in.Text()
		}
		for dropped == 0 {
			line := read()
			if strings.Contains(line, "level=WARN") && strings.Contains(line, "log lines were dropped") {
				_, n, _ := strings.Cut(line, `msg="`)
				dropped, _ = strconv.Atoi(strings.Fields(n)[0])
			} else if strings.HasSuffix(line, " msg=event n="+strconv.Itoa(seen)) {
				seen++
			} else {
				t.Fatalf("line %d is %q", seen, line)
			}
		}
		if seen+dropped != lines || seen < 1000 || seen > 1100 {
			t.Errorf("%d lines are there and %d are said to be dropped, of %d", seen, dropped, lines)
		}
		more <- true
		if line := read(); !strings.HasSuffix(line, " msg=event n="+strconv.Itoa(lines)) {
			t.Errorf("then comes %q", line)
		}
		if line := read(); line != "daemon: it went wrong" {
			t.Errorf("at the end comes %q", line)
		}
		if got := <-status; got != command.Failed {
			t.Errorf("status %d", got)
		}
	})
}

// Nor does it keep the daemon from ending with the right status.
func TestEndWithStuckReader(t *testing.T) {
	for want, err := range map[int]error{command.Done: nil, command.Failed: errors.New("it went wrong")} {
		synctest.Test(t, func(t *testing.T) {
			stderr, w := io.Pipe()
			begin := time.Now()
			status := command.Run(context.Background(), daemon(func(log *slog.Logger) error {
				for range 3 {
					log.Info(strings.Repeat("x", 200<<10)) // more than may wait, in bytes
				}
				return err
			}), nil, strings.NewReader(""), io.Discard, w)
			if took := time.Since(begin); status != want || took != time.Second {
				t.Errorf("status %d after %v, want %d after 1s", status, took, want)
			}
			go func() { // waiting lines are still written if there is time
				synctest.Wait()
				w.Close()
			}()
			all, _ := io.ReadAll(stderr)
			if n := bytes.Count(all, []byte("\n")); n > 4 || len(all) > 500<<10 {
				t.Errorf("%d lines of %d bytes had been kept", n, len(all))
			}
		})
	}
}
