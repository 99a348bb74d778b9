package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"foyer"
	"foyer/client"
)

// A fakeWorld has rooms that follow a script of their own.
type fakeWorld struct {
	mu       sync.Mutex
	rooms    map[foyer.Name]*fakeRoom
	lookup   func(foyer.Name) error // fails a look-up
	requests []string               // what has arrived, in order
}

type fakeRoom struct {
	world    *fakeWorld
	name     foyer.Name
	joinErr  []error // of the next joins
	answer   func(command string) (text string, ok bool, err error)
	messages chan string
	over     error // why the session ends when messages are closed
}

func newWorld(names ...foyer.Name) *fakeWorld {
	w := &fakeWorld{rooms: map[foyer.Name]*fakeRoom{}}
	for _, n := range names {
		w.rooms[n] = &fakeRoom{world: w, name: n, over: errClosed}
	}
	return w
}

func (w *fakeWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) Lookup(ctx context.Context, name foyer.Name) (foyer.Address, error) {
	w.note("lookup %s", name)
	if w.lookup != nil {
		if err := w.lookup(name); err != nil {
			return "", err
		}
	}
	if w.rooms[name] == nil {
		return "", foyer.Errorf(foyer.UnknownName, "no room %q is registered", name)
	}
	return foyer.Address("room://" + string(name)), ctx.Err()
}

func (w *fakeWorld) Join(_ context.Context, name foyer.Name, at foyer.Address, player string) (session, string, error) {
	w.note("join %s at %s as %s", name, at, player)
	r := w.rooms[name]
	if len(r.joinErr) > 0 {
		err := r.joinErr[0]
		r.joinErr = r.joinErr[1:]
		if err != nil {
			return nil, "", err
		}
	}
	r.messages = make(chan string, 10)
	return r, string(name) + "\n\nNice.\n\nThe room is empty.", nil
}

func (w *fakeWorld) Close() error { return nil }

func (r *fakeRoom) Do(_ context.Context, command string) (string, bool, error) {
	r.world.note("%s: %s", r.name, command)
	if r.answer != nil {
		if text, ok, err := r.answer(command); text != "" || err != nil {
			return text, ok, err
		}
	}
	verb, object, _ := strings.Cut(command, " ")
	switch verb {
	case "take":
		return object + " taken", true, nil
	case "drop":
		return object + " dropped", true, nil
	case "say":
		return fmt.Sprintf("You said %q.", object), true, nil
	case "exit":
		return "Goodbye", true, nil
	case "look":
		return "You see.", true, nil
	}
	return "Invalid command", false, nil
}

func (r *fakeRoom) Messages() <-chan string { return r.messages }
func (r *fakeRoom) Close() error            { return nil }
func (r *fakeRoom) Err() error              { return r.over }

// only answers one command.
func only(command, text string, ok bool, err error) func(string) (string, bool, error) {
	return func(c string) (string, bool, error) {
		if c == command {
			return text, ok, err
		}
		return "", false, nil
	}
}

// play feeds input to a player in the Foyer of w and returns what was shown and
// how it ended.
func play(t *testing.T, w *fakeWorld, input string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := newConsole(strings.NewReader(input), &out)
	defer c.Close()
	p := &game{name: "Alice", world: w, console: c}
	err := p.play(t.Context(), "Foyer")
	return out.String(), err
}

const inFoyer = "Foyer\n\nNice.\n\nThe room is empty.\n"

func TestPlay(t *testing.T) {
	silent := errors.New("the room Foyer did not answer within 5 seconds")
	for _, c := range []struct {
		name     string
		world    func() *fakeWorld // the Foyer alone if nil
		input    string
		output   string // behind the Foyer's summary
		requests string // behind the look-up and the join, one a line
		err      string
	}{
		{name: "end of input", output: "Goodbye\n", requests: "Foyer: exit\n"},
		{name: "exit", input: "exit\nlook\n", output: "Goodbye\n", requests: "Foyer: exit\n"},
		{name: "no newline at the end", input: "look", output: "You see.\nGoodbye\n", requests: "Foyer: look\nFoyer: exit\n"},
		{name: "empty lines", input: "\n  \n\r\n", output: "Goodbye\n", requests: "Foyer: exit\n"},
		{name: "spelling", input: "LOOK\n  look  \nSay  hi  there\n",
			output:   "You see.\nYou see.\nYou said \"hi  there\".\nGoodbye\n",
			requests: "Foyer: look\nFoyer: look\nFoyer: say hi  there\nFoyer: exit\n"},
		{name: "unknown", input: "dance\nLook around\ntake\n",
			output:   "Invalid command\nInvalid command\nInvalid command\nGoodbye\n",
			requests: "Foyer: dance\nFoyer: Look around\nFoyer: take\nFoyer: exit\n",
			world: func() *fakeWorld {
				w := newWorld("Foyer")
				w.rooms["Foyer"].answer = func(c string) (string, bool, error) {
					if c == "look" || c == "exit" {
						return "", false, nil
					}
					return "Invalid command", false, nil
				}
				return w
			}},
		{name: "what only programs say", input: "join Bob\n@sid=x look\n", output: "Invalid command\nInvalid command\nGoodbye\n", requests: "Foyer: exit\n"},
		{name: "what is held", input: "inventory\ntake lamp\nTAKE Old Book\ni\ndrop old book\ndrop sword\ninventory\n",
			output: "You are holding nothing.\nlamp taken\nOld Book taken\nYou are holding:\n  lamp\n  Old Book\nOld Book dropped\n" +
				"You are not holding sword\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n",
			requests: "Foyer: take lamp\nFoyer: take Old Book\nFoyer: drop Old Book\nFoyer: drop lamp\nFoyer: exit\n"},
		{name: "two of a kind", input: "take coin\ntake coin\ndrop coin\ninventory\n",
			output: "coin taken\ncoin taken\ncoin dropped\nYou are holding:\n  coin\ncoin dropped\nGoodbye\n"},
		{name: "take refused", input: "take moon\ninventory\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("take moon", "moon cannot be taken in this room", false, nil)
			return w
		}, output: "moon cannot be taken in this room\nYou are holding nothing.\nGoodbye\n"},
		{name: "drop refused at the end", input: "take lamp\ntake coin\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("drop lamp", "the room is full", false, nil)
			return w
		}, output: "lamp taken\ncoin taken\nthe room is full\ncoin dropped\nGoodbye\n"},
		{name: "the room's control characters", input: "look\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("look", "a\x1b[31mb\r\nc\x9b2Jd\te\xff\u202ef\n\n", true, nil)
			return w
		}, output: "a�[31mb\nc�2Jd e��f\nGoodbye\n"},
		{name: "too long", input: "say " + strings.Repeat("x", 5000) + "\nlook\n",
			output: "That is longer than 1000 bytes.\nYou see.\nGoodbye\n", requests: "Foyer: look\nFoyer: exit\n"},
		{name: "silence", input: "take lamp\nlook\ninventory\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("look", "", false, silent)
			return w
		}, output: "lamp taken\n", requests: "Foyer: take lamp\nFoyer: look\n", err: silent.Error()},
		{name: "silence at the end", input: "take lamp\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("drop lamp", "", false, silent)
			return w
		}, output: "lamp taken\n", requests: "Foyer: take lamp\nFoyer: drop lamp\n", err: silent.Error()},

		{name: "no way", input: "north\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("north", "You cannot go north from this room.", true, nil)
			return w
		}, output: "You cannot go north from this room.\nGoodbye\n", requests: "Foyer: north\nFoyer: exit\n"},
		{name: "move", input: "take lamp\nN\ninventory\n", world: func() *fakeWorld {
			w := newWorld("Foyer", "Great Hall")
			w.rooms["Foyer"].answer = only("north", "Great Hall", true, nil)
			return w
		}, output: "lamp taken\nGreat Hall\n\nNice.\n\nThe room is empty.\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n",
			requests: "Foyer: take lamp\nFoyer: north\nlookup Great Hall\njoin Great Hall at room://Great Hall as Alice\nGreat Hall: drop lamp\nGreat Hall: exit\n"},
		{name: "the next room is not registered", input: "north\nlook\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			return w
		}, output: "You cannot get to Attic: no room \"Attic\" is registered.\n" + inFoyer + "You see.\nGoodbye\n",
			requests: "Foyer: north\nlookup Attic\njoin Foyer at room://Foyer as Alice\nFoyer: look\nFoyer: exit\n"},
		{name: "the next room is silent", input: "north\n", world: func() *fakeWorld {
			w := newWorld("Foyer", "Attic")
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Attic"].joinErr = []error{errors.New("the room Attic did not answer within 5 seconds")}
			return w
		}, output: "You cannot get to Attic: the room Attic did not answer within 5 seconds.\n" + inFoyer + "Goodbye\n"},
		{name: "the next room's name cannot be", input: "north\n", world: func() *fakeWorld {
			w := newWorld("Foyer", "Attic")
			w.rooms["Foyer"].answer = only("north", "At\ntic", true, nil)
			return w
		}, output: "You cannot get to At\ntic: the room gave a name that cannot be: the name has a character that names may not have.\n" + inFoyer + "Goodbye\n"},
		{name: "the room that was left has moved", input: "north\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Foyer"].joinErr = []error{nil, errors.New("silence")}
			return w
		}, output: "You cannot get to Attic: no room \"Attic\" is registered.\n" + inFoyer + "Goodbye\n",
			requests: "Foyer: north\nlookup Attic\njoin Foyer at room://Foyer as Alice\nlookup Foyer\njoin Foyer at room://Foyer as Alice\nFoyer: exit\n"},
		{name: "lost between rooms", input: "north\nlook\n", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Foyer"].joinErr = []error{nil, errors.New("silence"), errors.New("silence again")}
			return w
		}, output: "You cannot get to Attic: no room \"Attic\" is registered.\n",
			err: "there is no way back to Foyer: silence again"},
		{name: "taken for gone", input: "take lamp\nnorth\ntake coin\nlook\nlook\ninventory\n", world: func() *fakeWorld {
			w := newWorld("Foyer", "Hall")
			w.rooms["Foyer"].answer = only("north", "Hall", true, nil)
			times := 0
			w.rooms["Hall"].answer = func(c string) (string, bool, error) {
				if times++; c == "look" && times == 2 {
					return "", false, errLost
				}
				return "", false, nil
			}
			return w
		}, output: "lamp taken\nHall\n\nNice.\n\nThe room is empty.\ncoin taken\n" +
			"The room had taken you for gone. You enter it again; what you took here has stayed here.\n" +
			"Hall\n\nNice.\n\nThe room is empty.\nYou see.\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n"},
		{name: "taken for gone at the end", world: func() *fakeWorld {
			w := newWorld("Foyer")
			w.rooms["Foyer"].answer = only("exit", "", false, errLost)
			return w
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld("Foyer")
			if c.world != nil {
				w = c.world()
			}
			out, err := play(t, w, c.input)
			if got := fmt.Sprint(err); got != c.err && (err != nil || c.err != "") {
				t.Errorf("ended with %v, want %q", err, c.err)
			}
			if want := inFoyer + c.output; out != want {
				t.Errorf("shown:\n%q\nwant:\n%q", out, want)
			}
			requests := strings.Join(w.requests, "\n") + "\n"
			if want := "lookup Foyer\njoin Foyer at room://Foyer as Alice\n" + c.requests; c.requests != "" && requests != want {
				t.Errorf("requests:\n%swant:\n%s", requests, want)
			}
		})
	}
}

func TestCannotBegin(t *testing.T) {
	w := newWorld("Foyer")
	w.lookup = func(foyer.Name) error { return errors.New("the registry is silent") }
	if out, err := play(t, w, "look\n"); out != "" || fmt.Sprint(err) != "the registry is silent" {
		t.Errorf("%q, %v", out, err)
	}
	w = newWorld("Foyer")
	w.rooms["Foyer"].joinErr = []error{errors.New("Alice is already here")}
	if out, err := play(t, w, "look\n"); out != "" || fmt.Sprint(err) != "Alice is already here" {
		t.Errorf("%q, %v", out, err)
	}
}

// A quiet player hears the others, is told when the room closes, and leaves on
// a signal with everything dropped.
func TestWhileWaiting(t *testing.T) {
	type world = struct {
		room   *fakeRoom
		stdin  *io.PipeWriter
		out    *bytes.Buffer
		cancel context.CancelFunc
		ended  chan error
	}
	start := func(t *testing.T) world {
		w := newWorld("Foyer")
		in, stdin := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		s := world{w.rooms["Foyer"], stdin, new(bytes.Buffer), cancel, make(chan error, 1)}
		c := newConsole(in, s.out)
		p := &game{name: "Alice", world: w, console: c}
		go func() {
			s.ended <- p.play(ctx, "Foyer")
			c.Close()
			in.Close()
		}()
		synctest.Wait()
		return s
	}
	check := func(t *testing.T, s world, want string) {
		t.Helper()
		if err := <-s.ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		if got := s.out.String(); got != inFoyer+want {
			t.Errorf("shown %q, want %q", got, inFoyer+want)
		}
		s.cancel()
	}
	t.Run("messages", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t)
			s.room.messages <- "Bob entered the room."
			synctest.Wait()
			if got := s.out.String(); got != inFoyer+"Bob entered the room.\n" {
				t.Errorf("shown %q", got)
			}
			s.stdin.Close()
			check(t, s, "Bob entered the room.\nGoodbye\n")
		})
	})
	t.Run("closing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t)
			close(s.room.messages)
			check(t, s, "The room Foyer has closed.\n")
		})
	})
	t.Run("signal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t)
			io.WriteString(s.stdin, "take lamp\n")
			synctest.Wait()
			s.cancel()
			check(t, s, "lamp taken\nlamp dropped\nGoodbye\n")
		})
	})
	t.Run("signal during a request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t)
			answer := make(chan struct{})
			s.room.answer = func(c string) (string, bool, error) {
				if c == "take lamp" {
					s.room.messages <- "Bob left the game."
					<-answer
				}
				return "", false, nil
			}
			io.WriteString(s.stdin, "take lamp\n")
			synctest.Wait()
			if got := s.out.String(); got != inFoyer+"Bob left the game.\n" {
				t.Errorf("shown while waiting: %q", got)
			}
			s.cancel()
			synctest.Wait()
			close(answer)
			check(t, s, "Bob left the game.\nlamp taken\nlamp dropped\nGoodbye\n")
		})
	})
}

// A room that falls silent while the player does nothing is named, and the
// program fails.
func TestRoomDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("Foyer")
		inFoyer := w.rooms["Foyer"]
		inFoyer.over = inRoom("Foyer", &client.NoAnswerError{Peer: "room 192.0.2.7:40001"})
		in, stdin := io.Pipe()
		defer stdin.Close()
		c := newConsole(in, io.Discard)
		defer c.Close()
		p := &game{name: "Alice", world: w, console: c}
		ended := make(chan error, 1)
		go func() { ended <- p.play(t.Context(), "Foyer") }()
		synctest.Wait() // the player is in the room
		close(inFoyer.messages)
		if err := <-ended; err == nil || err.Error() != "the room Foyer did not answer within 5 seconds" {
			t.Errorf("ended with %v", err)
		}
	})
}

type brokenPipe struct{ after int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// Nobody reads any more: the player leaves properly, and the program fails.
func TestBrokenPipe(t *testing.T) {
	w := newWorld("Foyer")
	c := newConsole(strings.NewReader("take lamp\nlook\nlook\nlook\n"), &brokenPipe{2})
	defer c.Close()
	p := &game{name: "Alice", world: w, console: c}
	if err := p.play(t.Context(), "Foyer"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("ended with %v", err)
	}
	want := "lookup Foyer,join Foyer at room://Foyer as Alice,Foyer: take lamp,Foyer: look,Foyer: drop lamp,Foyer: exit"
	if got := strings.Join(w.requests, ","); got != want {
		t.Errorf("requests %s\nwant     %s", got, want)
	}
}
