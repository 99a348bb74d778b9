package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// LogLevelFlag adds --log-level and returns the level that it sets.
func LogLevelFlag(flags *pflag.FlagSet) *slog.LevelVar {
	level := new(slog.LevelVar)
	flags.Var((*levelFlag)(level), "log-level", "log this and what is graver: debug, info, warn or error")
	flags.Lookup("log-level").DefValue = "info"
	return level
}

// levelFlag is the value of --log-level.
type levelFlag slog.LevelVar

func (l *levelFlag) Type() string   { return "LEVEL" }
func (l *levelFlag) String() string { return (*slog.LevelVar)(l).Level().String() }

func (l *levelFlag) Set(s string) error {
	if (*slog.LevelVar)(l).UnmarshalText([]byte(s)) != nil {
		return errors.New("it is debug, info, warn or error")
	}
	return nil
}

// NewLogger returns the logger of a daemon: one line an event to the standard
// error of c, as key=value pairs that are quoted where they hold anything but
// plain text.
//
// From then on standard error and standard output are written to in the
// background. Whoever reads them may stop reading without stopping the daemon: of
// each, [maxLogLines] lines of [maxLogBytes] bytes wait, what is more is dropped,
// and how much was dropped is said there when the reader reads again. [Run] waits
// for [maxLogWait] at the end.
func NewLogger(c *cobra.Command, level slog.Leveler) *slog.Logger {
	w := newLineWriter(c.ErrOrStderr(), func(n int) []byte {
		var b bytes.Buffer
		slog.New(logHandler(&b, nil)).Warn(fmt.Sprintf("%d log lines were dropped: standard error was not read", n))
		return b.Bytes()
	})
	c.Root().SetErr(w)
	c.Root().SetOut(newLineWriter(c.OutOrStdout(), func(n int) []byte {
		return fmt.Appendf(nil, "%s: %d lines were dropped: standard output was not read\n", c.Root().Name(), n)
	}))
	return slog.New(logHandler(w, level))
}

func logHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
}

const (
	// maxLogLines and maxLogBytes bound the lines that wait to be written to
	// each of the two, whoever causes them.
	maxLogLines = 1024
	maxLogBytes = 256 << 10

	// maxLogWait is how long the end of a daemon waits for whoever reads what it
	// writes.
	maxLogWait = time.Second
)

// A lineWriter writes lines to w from a goroutine of its own, so that nobody
// waits for w. Each Write is a line. When too many wait, lines are dropped until
// all that wait are written; then a line says how many are missing in this place.
type lineWriter struct {
	w       io.Writer
	missing func(n int) []byte // the line that says that n are missing
	wake    chan struct{}      // of capacity 1: there is something to do
	ended   chan struct{}      // closed when all is written after close

	mu      sync.Mutex // guards what follows
	lines   [][]byte   // that wait
	bytes   int        // in them
	dropped int        // lines, since there was last room
	closing bool
}

func newLineWriter(w io.Writer, missing func(int) []byte) *lineWriter {
	l := &lineWriter{w: w, missing: missing, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go l.run()
	return l
}

// Write never blocks and never fails.
func (l *lineWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 || len(l.lines) == maxLogLines || l.bytes+len(line) > maxLogBytes {
		l.dropped++
	} else {
		l.add(line)
	}
	l.signal()
	return len(line), nil
}

func (l *lineWriter) add(line []byte) {
	l.lines = append(l.lines, bytes.Clone(line))
	l.bytes += len(line)
}

func (l *lineWriter) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes a line at a time: lines that are short enough are then not torn
// apart where several programs share a pipe.
func (l *lineWriter) run() {
	defer close(l.ended)
	for range l.wake {
		for {
			line, last := l.next()
			if line == nil && last {
				return
			} else if line == nil {
				break
			}
			_, _ = l.w.Write(line) // a reader that is gone must not end the daemon
		}
	}
}

// next returns the next line to be written, nil if there is none for now, and
// whether no more can come.
func (l *lineWriter) next() (line []byte, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 && l.dropped > 0 {
		l.add(l.missing(l.dropped))
		l.dropped = 0
	}
	if len(l.lines) == 0 {
		l.lines = nil
		return nil, l.closing
	}
	line, l.lines = l.lines[0], l.lines[1:]
	l.bytes -= len(line)
	return line, false
}

// close writes a last line, if it is not empty, which is not dropped, and waits
// until everything is written, or late. The goroutine of a lineWriter whose
// reader is stuck ends with the process.
func (l *lineWriter) close(last string, late <-chan struct{}) {
	l.mu.Lock()
	if last != "" {
		if l.dropped > 0 {
			l.add(l.missing(l.dropped))
			l.dropped = 0
		}
		l.add([]byte(last))
	}
	l.closing = true
	l.signal()
	l.mu.Unlock()
	select {
	case <-l.ended:
	case <-late:
	}
}
