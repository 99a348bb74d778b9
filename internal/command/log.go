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

// LogOptions are what --log-level and --log-format say.
type LogOptions struct {
	level  slog.LevelVar
	format logFormat
}

// LogFlags adds --log-level and --log-format.
func LogFlags(flags *pflag.FlagSet) *LogOptions {
	o := new(LogOptions)
	flags.Var((*levelFlag)(&o.level), "log-level", "the lowest level to log: debug, info, warn or error")
	flags.Lookup("log-level").DefValue = "info"
	flags.Var(&o.format, "log-format", "how to log: text, or json with one object per line")
	return o
}

// Level implements [slog.Leveler].
func (o *LogOptions) Level() slog.Level { return o.level.Level() }

// logFormat is the value of --log-format: whether it is JSON.
type logFormat bool

func (f *logFormat) Type() string { return "FORMAT" }

func (f *logFormat) String() string {
	if *f {
		return "json"
	}
	return "text"
}

func (f *logFormat) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("it is text or json")
	}
	*f = s == "json"
	return nil
}

func (f logFormat) handler(w io.Writer, level slog.Leveler) slog.Handler {
	if f {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readableDuration})
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
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

// NewLogger returns the logger of a daemon. It writes one line per event to the
// standard error of c: key=value pairs, quoted where necessary, or a JSON object.
//
// From then on standard error and standard output are written to in the
// background, so that a reader that stops reading does not stop the daemon. For
// each, up to [maxLogLines] lines and [maxLogBytes] bytes wait; more are
// dropped, and a line there says how many once the reader reads again. At the
// end [Run] waits up to [maxLogWait].
func NewLogger(c *cobra.Command, o *LogOptions) *slog.Logger {
	w := newLineWriter(c.ErrOrStderr(), func(n int) []byte {
		var b bytes.Buffer
		slog.New(o.format.handler(&b, nil)).Warn(fmt.Sprintf("%d log lines were dropped: standard error was not read", n))
		return b.Bytes()
	})
	c.Root().SetErr(w)
	c.Root().SetOut(newLineWriter(c.OutOrStdout(), func(n int) []byte {
		return fmt.Appendf(nil, "%s: %d lines were dropped: standard output was not read\n", c.Root().Name(), n)
	}))
	return slog.New(o.format.handler(w, o))
}

// readableDuration makes durations what they are in text, such as 30s, and not
// nanoseconds.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

const (
	// maxLogLines and maxLogBytes bound the lines waiting to be written to each
	// of the two.
	maxLogLines = 1024
	maxLogBytes = 256 << 10

	// maxLogWait is how long a daemon waits at its end for its output to be
	// read.
	maxLogWait = time.Second
)

// A lineWriter writes lines to w from its own goroutine, so that nobody waits
// for w. Each Write is a line. When too many wait, lines are dropped until all
// waiting ones are written; then a line says how many are missing there.
type lineWriter struct {
	w       io.Writer
	missing func(n int) []byte // the line that says that n are missing
	wake    chan struct{}      // of capacity 1: there is something to do
	ended   chan struct{}      // closed when all is written after close

	mu      sync.Mutex // guards what follows
	lines   [][]byte   // waiting
	bytes   int        // in them
	dropped int        // lines, since there was room
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

// run writes one line at a time, so that short lines stay whole if several
// programs share a pipe.
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

// next returns the next line to write, nil if there is none yet, and whether no
// more will come.
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

// close queues a last line, unless it is empty, without ever dropping it, and
// waits until everything is written or late is closed. If the reader is stuck
// the goroutine ends with the process.
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
