package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"foyer"
)

func TestPlay(t *testing.T) {
	const silent = "the room Foyer did not answer within 5 seconds"
	for _, c := range []struct {
		name     string
		world    func(w *fakeWorld) // writes the script of the rooms
		rooms    []foyer.Name       // besides the Foyer
		input    string
		output   string // after the Foyer's summary
		requests string // after the look-up and the join, one per line
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
			world: func(w *fakeWorld) {
				w.rooms["Foyer"].answer = func(c string) (string, bool, error) {
					if c == "look" || c == "exit" {
						return "", false, nil
					}
					return "Invalid command", false, nil
				}
			}},
		{name: "what only programs say", input: "join Bob\n@sid=x look\n", output: "Invalid command\nInvalid command\nGoodbye\n", requests: "Foyer: exit\n"},
		{name: "what is held", input: "inventory\ntake lamp\nTAKE Old Book\ni\ndrop old book\ndrop sword\ninventory\n",
			output: "You are holding nothing.\nlamp taken\nOld Book taken\nYou are holding:\n  lamp\n  Old Book\nOld Book dropped\n" +
				"You are not holding sword\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n",
			requests: "Foyer: take lamp\nFoyer: take Old Book\nFoyer: drop Old Book\nFoyer: drop lamp\nFoyer: exit\n"},
		{name: "two of a kind", input: "take coin\ntake coin\ndrop coin\ninventory\n",
			output: "coin taken\ncoin taken\ncoin dropped\nYou are holding:\n  coin\ncoin dropped\nGoodbye\n"},
		{name: "take refused", input: "take moon\ninventory\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("take moon", "moon cannot be taken in this room", false, nil)
		}, output: "moon cannot be taken in this room\nYou are holding nothing.\nGoodbye\n"},
		{name: "drop refused at the end", input: "take lamp\ntake coin\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("drop lamp", "the room is full", false, nil)
		}, output: "lamp taken\ncoin taken\nthe room is full\ncoin dropped\nGoodbye\n"},
		{name: "the room's control characters", input: "look\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("look", "a\x1b[31mb\r\nc\x9b2Jd\te\xff\u202ef\n\n", true, nil)
		}, output: "a�[31mb\nc�2Jd e��f\nGoodbye\n"},
		{name: "too long", input: "say " + strings.Repeat("x", 5000) + "\nlook\n",
			output: "That is longer than 1000 bytes.\nYou see.\nGoodbye\n", requests: "Foyer: look\nFoyer: exit\n"},
		{name: "silence", input: "take lamp\nlook\ninventory\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("look", "", false, errSilence)
		}, output: "lamp taken\n", requests: "Foyer: take lamp\nFoyer: look\n", err: silent},
		{name: "silence at the end", input: "take lamp\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("drop lamp", "", false, errSilence)
		}, output: "lamp taken\n", requests: "Foyer: take lamp\nFoyer: drop lamp\n", err: silent},

		{name: "no way", input: "north\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "You cannot go north from this room.", false, nil)
		}, output: "You cannot go north from this room.\nGoodbye\n", requests: "Foyer: north\nFoyer: exit\n"},
		{name: "move", input: "take lamp\nN\ninventory\n", rooms: []foyer.Name{"Great Hall"}, world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Great Hall", true, nil)
		}, output: "lamp taken\nGreat Hall\n\nNice.\n\nThe room is empty.\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n",
			requests: "Foyer: take lamp\nFoyer: north\nlookup Great Hall\njoin Great Hall as Alice\nGreat Hall: drop lamp\nGreat Hall: exit\n"},
		{name: "the next room is not registered", input: "north\nlook\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
		}, output: "You cannot get to Attic: no room called Attic is registered.\n" + inFoyer + "You see.\nGoodbye\n",
			requests: "Foyer: north\nlookup Attic\njoin Foyer as Alice\nFoyer: look\nFoyer: exit\n"},
		{name: "the next room is silent", input: "north\n", rooms: []foyer.Name{"Attic"}, world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Attic"].joinErr = []error{errSilence}
		}, output: "You cannot get to Attic: the room Attic did not answer within 5 seconds.\n" + inFoyer + "Goodbye\n"},
		{name: "the next room's name cannot be", input: "north\n", rooms: []foyer.Name{"Attic"}, world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "At\ntic", true, nil)
		}, output: "You cannot get to At\ntic: the room gave an invalid name: the name has a character that names may not have.\n" + inFoyer + "Goodbye\n"},
		{name: "the room that was left has moved", input: "north\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Foyer"].joinErr = []error{nil, errSilence}
		}, output: "You cannot get to Attic: no room called Attic is registered.\n" + inFoyer + "Goodbye\n",
			requests: "Foyer: north\nlookup Attic\njoin Foyer as Alice\nlookup Foyer\njoin Foyer as Alice\nFoyer: exit\n"},
		{name: "lost between rooms", input: "north\nlook\n", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Attic", true, nil)
			w.rooms["Foyer"].joinErr = []error{nil, errSilence, errSilence}
		}, output: "You cannot get to Attic: no room called Attic is registered.\n",
			err: "there is no way back to Foyer: " + silent},
		{name: "taken for gone", input: "take lamp\nnorth\ntake coin\nlook\nlook\ninventory\n", rooms: []foyer.Name{"Hall"}, world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("north", "Hall", true, nil)
			times := 0
			w.rooms["Hall"].answer = func(c string) (string, bool, error) {
				if times++; c == "look" && times == 2 {
					return "", false, errLost
				}
				return "", false, nil
			}
		}, output: "lamp taken\nHall\n\nNice.\n\nThe room is empty.\ncoin taken\n" +
			"The room had lost you. You are back in it; what you took here has stayed here.\n" +
			"Hall\n\nNice.\n\nThe room is empty.\nYou see.\nYou are holding:\n  lamp\nlamp dropped\nGoodbye\n"},
		{name: "taken for gone at the end", world: func(w *fakeWorld) {
			w.rooms["Foyer"].answer = only("exit", "", false, errLost)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, append([]foyer.Name{"Foyer"}, c.rooms...)...)
				if c.world != nil {
					c.world(w)
				}
				out, err := play(t, w, c.input)
				if got := fmt.Sprint(err); got != c.err && (err != nil || c.err != "") {
					t.Errorf("ended with %v, want %q", err, c.err)
				}
				if want := inFoyer + c.output; out != want {
					t.Errorf("shown:\n%q\nwant:\n%q", out, want)
				}
				requests := strings.Join(w.requests, "\n") + "\n"
				if want := "lookup Foyer\njoin Foyer as Alice\n" + c.requests; c.requests != "" && requests != want {
					t.Errorf("requests:\n%swant:\n%s", requests, want)
				}
			})
		})
	}
}

func TestCannotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "Foyer")
		w.registry.Stop()
		if out, err := play(t, w, "look\n"); out != "" ||
			fmt.Sprint(err) != "registry 192.0.2.2:7666 did not answer within 5 seconds; --discovery HOST:PORT asks another" {
			t.Errorf("%q, %v", out, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "Foyer")
		w.rooms["Foyer"].joinErr = []error{errors.New("Alice is already here")}
		if out, err := play(t, w, "look\n"); out != "" || fmt.Sprint(err) != "the room Foyer does not let you in: Alice is already here" {
			t.Errorf("%q, %v", out, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "Foyer")
		w.rooms["Foyer"].joinErr = []error{errSilence}
		if out, err := play(t, w, "look\n"); out != "" || fmt.Sprint(err) != "the room Foyer did not answer within 5 seconds" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// An idle player hears the others, is told when the room closes, and on a
// signal leaves with everything dropped.
func TestWhileWaiting(t *testing.T) {
	type world = struct {
		room   *fakeRoom
		stdin  *io.PipeWriter
		out    *bytes.Buffer
		cancel context.CancelFunc
		ended  chan error
	}
	start := func(t *testing.T) world {
		w := newWorld(t, "Foyer")
		in, stdin := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		s := world{w.rooms["Foyer"], stdin, new(bytes.Buffer), cancel, make(chan error, 1)}
		c := newConsole(in, s.out)
		g := w.game(c)
		go func() {
			s.ended <- g.play(ctx, "Foyer")
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
			s.room.tell("Bob entered the room.")
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
			s.room.tell("disconnect")
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
					s.room.tell("Bob left the game.")
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

// If a room falls silent while the player is idle, the error names it and the
// program fails.
func TestRoomDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "Foyer")
		in, stdin := io.Pipe()
		defer stdin.Close()
		c := newConsole(in, io.Discard)
		defer c.Close()
		g := w.game(c)
		ended := make(chan error, 1)
		go func() { ended <- g.play(t.Context(), "Foyer") }()
		synctest.Wait() // the player is in the room
		w.rooms["Foyer"].Stop()
		if err := <-ended; err == nil || err.Error() != "the room Foyer did not answer within 5 seconds" {
			t.Errorf("ended with %v", err)
		}
	})
}

// The reader has gone: the player leaves properly, and the program fails.
func TestBrokenPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "Foyer")
		c := newConsole(strings.NewReader("take lamp\nlook\nlook\nlook\n"), &brokenPipe{2})
		defer c.Close()
		if err := w.game(c).play(t.Context(), "Foyer"); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("ended with %v", err)
		}
		want := "lookup Foyer,join Foyer as Alice,Foyer: take lamp,Foyer: look,Foyer: drop lamp,Foyer: exit"
		if got := strings.Join(w.requests, ","); got != want {
			t.Errorf("requests %s\nwant     %s", got, want)
		}
	})
}
