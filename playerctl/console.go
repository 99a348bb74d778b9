package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"foyer/internal/command"
)

// maxLine is the longest command, in bytes, that fits into one datagram with
// its tags. Longer lines are cut to one byte more, which package player
// refuses.
const maxLine = 1000

// A console is where the player types and reads: a terminal, or pipes.
//
// The player's goroutine asks for a line when it is ready for one, and writes
// at any time. The console's only goroutine reads: it is mostly blocked in a
// read of standard input, and reads ahead no further than one line and one
// buffer.
type console struct {
	out      io.Writer
	terminal *terminal // nil unless input and output are a terminal
	lines    chan string
	asked    chan struct{}
	done     chan struct{}
	close    func()
	err      error // of the first failed write
}

func newConsole(stdin io.Reader, stdout io.Writer) *console {
	c := &console{
		out:   stdout,
		lines: make(chan string),
		asked: make(chan struct{}, 1), // one line is asked for at a time
		done:  make(chan struct{}),
	}
	c.close = sync.OnceFunc(func() {
		close(c.done)
		if c.terminal != nil {
			c.terminal.restore(true)
		}
	})
	c.terminal = openTerminal(stdin, stdout)
	read := c.pipeReader(stdin)
	if c.terminal != nil {
		read = c.terminal.readLine
	}
	go func() {
		defer close(c.lines)
		for {
			select {
			case <-c.asked:
			case <-c.done:
				return
			}
			line, err := read()
			if err != nil {
				return
			}
			select {
			case c.lines <- line:
			case <-c.done:
				return
			}
		}
	}()
	return c
}

// Ask asks for one line from Lines, and on a terminal shows the prompt for it.
// It must not be called again before that line has arrived.
func (c *console) Ask() { c.asked <- struct{}{} }

// Lines returns the channel of the lines that were asked for. It is closed at
// the end of the input, on a read error, and when Ctrl-C is typed at the
// prompt.
func (c *console) Lines() <-chan string { return c.lines }

// Show writes a text and a line ending. Rooms are not trusted: terminal control
// characters are replaced, wherever the output goes.
func (c *console) Show(text string) {
	text = strings.TrimRight(command.Printable(text), "\n") + "\n"
	var err error
	if c.terminal != nil {
		err = c.terminal.write(text)
	} else {
		_, err = io.WriteString(c.out, text)
	}
	if c.err == nil && err != nil {
		c.err = fmt.Errorf("cannot write: %w", err)
	}
}

// Close restores the terminal. It may be called again.
func (c *console) Close() { c.close() }

// pipeReader returns a function that reads lines of any length and keeps the
// first maxLine+1 bytes.
func (c *console) pipeReader(stdin io.Reader) func() (string, error) {
	r := bufio.NewReader(stdin)
	return func() (string, error) {
		var line []byte
		for {
			part, more, err := r.ReadLine()
			if err != nil {
				return "", err
			}
			line = append(line, part[:min(len(part), maxLine+1-len(line))]...)
			if !more {
				return string(line), nil
			}
		}
	}
}

// A terminal edits lines. It is in raw mode only while a line is being typed;
// at all other times Ctrl-C is a signal.
type terminal struct {
	in, out *os.File
	editor  *term.Terminal

	mu            sync.Mutex
	before        *term.State // while in raw mode
	width, height int
}

// openTerminal returns nil if one of the streams is not a terminal, or the
// terminal cannot move its cursor.
func openTerminal(stdin io.Reader, stdout io.Writer) *terminal {
	in, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	out, ok := stdout.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	t := &terminal{in: in, out: out}
	t.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	return t
}

func (t *terminal) readLine() (string, error) {
	if err := t.raw(); err != nil {
		return "", err
	}
	line, err := t.editor.ReadLine()
	t.restore(err != nil)
	if len(line) > maxLine {
		line = line[:maxLine+1]
	}
	return line, err
}

// write puts text above the line that is being typed, if any.
func (t *terminal) write(text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fit()
	text = wrap(text, t.width)
	if t.before == nil {
		_, err := t.out.WriteString(text)
		return err
	}
	_, err := t.editor.Write([]byte(text))
	return err
}

func (t *terminal) raw() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fit()
	t.before, err = term.MakeRaw(int(t.in.Fd()))
	return err
}

// restore leaves raw mode, and erases an unfinished line if wipe is set.
func (t *terminal) restore(wipe bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.before == nil {
		return
	}
	if wipe {
		io.WriteString(t.out, "\r\x1b[J")
	}
	term.Restore(int(t.in.Fd()), t.before)
	t.before = nil
}

// fit adapts to the size of the window. Asking for it at each text is cheap,
// and needs no signal.
func (t *terminal) fit() {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || width == t.width && height == t.height {
		return
	}
	t.width, t.height = width, height
	t.editor.SetSize(width, height)
}
