package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A screen is the other end of a terminal: what the player sees and types.
type screen struct {
	t     *testing.T
	pty   *os.File
	tty   *os.File // the player's end
	shown chan string
	seen  string // and not yet expected
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	t.Setenv("TERM", "xterm")
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pty.Close() })
	if err := unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	s := &screen{t: t, pty: pty, tty: tty, shown: make(chan string, 100)}
	go func() { // ends when the terminal is closed
		buf := make([]byte, 4096)
		for {
			n, err := pty.Read(buf)
			if err != nil {
				close(s.shown)
				return
			}
			s.shown <- string(buf[:n])
		}
	}()
	return s
}

// expect waits until text is shown, after what was expected before.
func (s *screen) expect(text string) (before string) {
	s.t.Helper()
	limit := time.After(10 * time.Second)
	for {
		if before, after, ok := strings.Cut(s.seen, text); ok {
			s.seen = after
			return before
		}
		select {
		case more := <-s.shown:
			s.seen += more
		case <-limit:
			s.t.Fatalf("%q is not shown; there is %q", text, s.seen)
		}
	}
}

func (s *screen) enter(keys string) { s.pty.WriteString(keys) }

func TestTerminal(t *testing.T) {
	for _, end := range []struct{ name, keys, shown string }{
		{"exit", "exit\r", "Goodbye"},
		{"end of input", "\x04", "Goodbye"},
		{"Ctrl-C", "half a li\x03", "Goodbye"},
		{"signal", "", "Goodbye"},
		{"closing", "", "The room Foyer has closed."},
	} {
		t.Run(end.name, func(t *testing.T) {
			s := newScreen(t)
			before, err := term.GetState(int(s.tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, "Foyer")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			c := newConsole(s.tty, s.tty)
			g := w.game(c)
			go func() {
				defer c.Close()
				ended <- g.play(ctx, "Foyer")
			}()
			s.expect("The room is empty.\r\n")
			s.expect("> ")
			s.enter("look\r")
			s.expect("look\r\n")
			s.expect("You see.\r\n")
			s.expect("> ")

			// A message appears above the line that is being typed, which is
			// shown again below.
			s.enter("take la")
			s.expect("take la")
			w.rooms["Foyer"].tell("Bob says \x1b]0;boo\a.")
			s.expect("Bob says �]0;boo�.\r\n")
			s.expect("> take la")
			s.enter("mp\r")
			s.expect("lamp taken\r\n")
			s.expect("> ")

			// History, and editing.
			s.enter("\x1b[A")
			s.expect("take lamp")
			s.enter("\x17coin\r")
			s.expect("coin taken\r\n")
			s.expect("> ")

			s.enter(end.keys)
			switch end.name {
			case "signal":
				cancel()
			case "closing":
				w.rooms["Foyer"].tell("disconnect")
			}
			s.expect(end.shown)
			if err := <-ended; err != nil {
				t.Errorf("ended with %v", err)
			}
			after, err := term.GetState(int(s.tty.Fd()))
			if err != nil || *after != *before {
				t.Errorf("the terminal is not as it was: %v", err)
			}
		})
	}
}
