package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"foyer"
	"foyer/internal/testenv"
)

func newRoom(t testing.TB, things ...string) *Room {
	t.Helper()
	r, err := New("Great Hall", "A long table, and no chairs.",
		map[foyer.Direction]foyer.Name{foyer.North: "Kitchen", foyer.Up: "The Loft"}, things)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func join(t testing.TB, r *Room, name string, tracked bool) Player {
	t.Helper()
	p, reply := r.Join(name, tracked)
	if !reply.OK {
		t.Fatalf("join %s: %s", name, reply.Text)
	}
	return p
}

// TestTranscript holds the texts of the plain dialect, byte for byte.
func TestTranscript(t *testing.T) {
	r := newRoom(t, "lamp", "red coin", "lamp")
	const header = "Great Hall\n\nA long table, and no chairs.\n\n"
	for _, step := range []struct {
		player  Player
		command string
		ok      bool
		text    string
		notice  string
	}{
		{"", "join Alice", true, header + "In this room, there are:\n  lamp\n  red coin\n  lamp", "Alice entered the room."},
		{"", "JOIN  Bob \r\n", true, header + "In this room, there are:\n  lamp\n  red coin\n  lamp\n  Alice", "Bob entered the room."},
		{"", "join Bob", false, "Bob is already here", ""},
		{"", "join B\x01b", false, "Invalid command", ""},
		{"", "join " + strings.Repeat("b", 256), false, "You cannot join: the name is longer than 255 bytes", ""},
		{"Alice", "take lamp", true, "lamp taken", ""},
		{"Alice", "Take lamp", true, "lamp taken", ""},
		{"Alice", "take lamp", false, "lamp cannot be taken in this room", ""},
		{"Alice", "take  red   coin", true, "red coin taken", ""},
		{"Alice", "take Bob", false, "Bob cannot be taken in this room", ""},
		{"Alice", "look", true, header + "In this room, there is:\n  Bob", ""},
		{"Bob", "LOOK\n", true, header + "In this room, there is:\n  Alice", ""},
		{"Alice", "drop red coin", true, "red coin dropped", ""},
		{"Alice", "look", true, header + "In this room, there are:\n  red coin\n  Bob", ""},
		{"Alice", "say", false, "What did you want to say?", ""},
		{"Alice", "say  ", false, "What did you want to say?", ""},
		{"Alice", "say Hello,  \"you\"; drop red coin", true, `You said "Hello,  "you"; drop red coin".`, `Alice said "Hello,  "you"; drop red coin".`},
		{"Alice", "say Grüße\taus Köln 👋", true, "You said \"Grüße\taus Köln 👋\".", "Alice said \"Grüße\taus Köln 👋\"."},
		{"Alice", "say one\nBob said \"two\".", false, "Invalid command", ""},
		{"Alice", "say \x1b[2J", false, "Invalid command", ""},
		{"Alice", "say \xff", false, "Invalid command", ""},
		{"Alice", "say " + strings.Repeat("x", MaxText-len(`Alice said "".`)), true, `You said "` + strings.Repeat("x", 1136) + `".`, `Alice said "` + strings.Repeat("x", 1136) + `".`},
		{"Alice", "say " + strings.Repeat("x", MaxText), false, "That is too long to say", ""},
		{"Alice", "south", false, "You cannot go south from this room.", ""},
		{"Alice", "down", false, "You cannot go down from this room.", ""},
		{"Alice", "north now", false, "Invalid command", ""},
		{"Alice", "look around", false, "Invalid command", ""},
		{"Alice", "exit please", false, "Invalid command", ""},
		{"Alice", "take", false, "Invalid command", ""},
		{"Alice", "drop ", false, "Invalid command", ""},
		{"Alice", "", false, "Invalid command", ""},
		{"Alice", "dance", false, "Invalid command", ""},
		{"Alice", "take " + strings.Repeat("x", 256), false, "Invalid command", ""},
		{"Alice", "Up", true, "The Loft", "Alice left the room, heading up."},
		{"Bob", "look", true, header + "In this room, there is:\n  red coin", ""},
		{"Bob", "take red coin", true, "red coin taken", ""},
		{"Bob", "look", true, header + "The room is empty.", ""},
		{"Bob", "exit", true, "Goodbye", "Bob left the game."},
		{"Bob", "look", false, "Invalid command", ""},
	} {
		c := ParseCommand(step.command)
		var got Reply
		if c.Verb == Join {
			_, got = r.Join(c.Text, false)
		} else {
			got = r.Do(step.player, c)
		}
		if got.Text != step.text || got.OK != step.ok || got.Notice != step.notice {
			t.Errorf("%s: %q\n got %v %q, others %q\nwant %v %q, others %q", step.player, step.command,
				got.OK, got.Text, got.Notice, step.ok, step.text, step.notice)
		}
		if left := got.OK && (c.Verb == Go || c.Verb == Exit); got.Left != left {
			t.Errorf("%s: %q: Left is %v", step.player, step.command, got.Left)
		}
	}
	if n := len(r.Players()); n != 0 {
		t.Errorf("%d players are left", n)
	}
}

func TestTrackedPlayersThings(t *testing.T) {
	t.Run("dropped when the player is gone", func(t *testing.T) {
		r := newRoom(t, "lamp", "coin", "coin")
		p := join(t, r, "Alice", true)
		r.Do(p, ParseCommand("take coin"))
		r.Do(p, ParseCommand("take lamp"))
		r.Do(p, ParseCommand("drop coin"))
		if notice := r.Lose(p); notice != "Alice left the game." {
			t.Errorf("the others are told %q", notice)
		}
		if want := []string{"coin", "coin", "lamp"}; !slices.Equal(r.things, want) {
			t.Errorf("in the room: %q, want %q", r.things, want)
		}
	})
	t.Run("dropped on exit", func(t *testing.T) {
		r := newRoom(t, "lamp")
		p := join(t, r, "Alice", true)
		r.Do(p, ParseCommand("take lamp"))
		r.Do(p, ParseCommand("exit"))
		if !slices.Equal(r.things, []string{"lamp"}) {
			t.Errorf("in the room: %q", r.things)
		}
	})
	t.Run("taken along to the next room", func(t *testing.T) {
		r := newRoom(t, "lamp")
		p := join(t, r, "Alice", true)
		r.Do(p, ParseCommand("take lamp"))
		r.Do(p, ParseCommand("north"))
		if len(r.things) != 0 || r.held != 0 {
			t.Errorf("in the room: %q, held %d", r.things, r.held)
		}
	})
	t.Run("kept by plain players themselves", func(t *testing.T) {
		r := newRoom(t, "lamp")
		p := join(t, r, "Alice", false)
		r.Do(p, ParseCommand("take lamp"))
		r.Lose(p)
		if len(r.things) != 0 {
			t.Errorf("in the room: %q", r.things)
		}
	})
}

func TestBounds(t *testing.T) {
	t.Run("players", func(t *testing.T) {
		r := newRoom(t)
		for i := range MaxPlayers {
			join(t, r, fmt.Sprintf("Player %d", i), false)
		}
		if _, reply := r.Join("One more", false); reply.Code != foyer.Busy || reply.Text != "The room is full" {
			t.Errorf("got %+v", reply)
		}
	})
	t.Run("things", func(t *testing.T) {
		r := newRoom(t)
		p := join(t, r, "Alice", true)
		for range MaxThings {
			if reply := r.Do(p, ParseCommand("drop penny")); !reply.OK {
				t.Fatal(reply.Text)
			}
		}
		// What is held counts too, or taking and inventing things in turns
		// would never end.
		r.Do(p, ParseCommand("take penny"))
		if reply := r.Do(p, ParseCommand("drop pound")); reply.OK || reply.Text != "There is no space here for pound" {
			t.Errorf("got %+v", reply)
		}
		if reply := r.Do(p, ParseCommand("drop penny")); !reply.OK {
			t.Errorf("got %+v", reply)
		}
	})
	t.Run("descriptions and items", func(t *testing.T) {
		for _, c := range []struct{ description, thing, want string }{
			{"", "lamp", "the description is empty"},
			{" \n", "lamp", "the description is empty"},
			{strings.Repeat("x", MaxDescription+1), "lamp", "the description is longer than 512 bytes"},
			{"bell\a", "lamp", "the description is not UTF-8 or has control characters"},
			{"A hall.", "", `item "": the name is missing`},
			{"A hall.", "la\x00mp", `item "la\x00mp": the name has a character that names may not have`},
		} {
			if _, err := New("Hall", c.description, nil, []string{c.thing}); err == nil || err.Error() != c.want {
				t.Errorf("%q, %q: got %v, want %s", c.description, c.thing, err, c.want)
			}
		}
	})
	t.Run("summary", func(t *testing.T) {
		r, err := New(foyer.Name(strings.Repeat("n", foyer.MaxName)), strings.Repeat("d", MaxDescription), nil,
			slices.Repeat([]string{strings.Repeat("t", foyer.MaxName)}, MaxThings))
		if err != nil {
			t.Fatal(err)
		}
		text := r.Summary("")
		if len(text) > MaxText {
			t.Errorf("the summary has %d bytes", len(text))
		}
		if !strings.HasSuffix(text, "\n  and 511 more") {
			t.Errorf("the summary ends with %q", text[len(text)-40:])
		}
	})
}

// TestSummaryListsWhatFits looks at every number of things around the limit.
func TestSummaryListsWhatFits(t *testing.T) {
	for n := range 200 {
		things := make([]string, n)
		for i := range things {
			things[i] = "thing " + strconv.Itoa(i)
		}
		r := newRoom(t, things...)
		text := r.Summary("")
		if len(text) > MaxText {
			t.Fatalf("%d things: %d bytes", n, len(text))
		}
		listed := strings.Count(text, "\n  thing ")
		var more int
		if i := strings.Index(text, "\n  and "); i >= 0 {
			fmt.Sscanf(text[i:], "\n  and %d more", &more)
		}
		if listed+more != n || more == 1 && listed == 0 {
			t.Fatalf("%d things: %d listed and %d more", n, listed, more)
		}
	}
}

// TestNothingIsLostOrDoubled plays randomly and compares where everything is
// with a separate count.
func TestNothingIsLostOrDoubled(t *testing.T) {
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	kinds := []string{"lamp", "coin", "rope", "map"}
	r := newRoom(t, slices.Repeat(kinds, 5)...)
	carried := map[Player][]string{} // by those in the room
	away := 0                        // carried elsewhere
	for range 5000 {
		p := Player("P" + strconv.Itoa(rng.IntN(6)))
		_, in := carried[p]
		if !in {
			join(t, r, string(p), true)
			carried[p] = nil
			continue
		}
		thing := kinds[rng.IntN(len(kinds))]
		switch n := rng.IntN(40); {
		case n < 20:
			if r.Do(p, ParseCommand("take "+thing)).OK {
				carried[p] = append(carried[p], thing)
			}
		case n < 34:
			if i := slices.Index(carried[p], thing); i >= 0 {
				if !r.Do(p, ParseCommand("drop "+thing)).OK {
					t.Fatal("drop refused")
				}
				carried[p] = slices.Delete(carried[p], i, i+1)
			}
		case n < 36 && away < 10:
			away += len(carried[p])
			r.Do(p, ParseCommand("north"))
			delete(carried, p)
		case n < 38:
			r.Lose(p)
			delete(carried, p)
		default:
			r.Do(p, ParseCommand("exit"))
			delete(carried, p)
		}
		held := 0
		for _, things := range carried {
			held += len(things)
		}
		if r.held != held || len(r.things)+held+away != 20 {
			t.Fatalf("%d lie here, %d are held (the room says %d), %d are elsewhere", len(r.things), held, r.held, away)
		}
	}
}

func FuzzCommands(f *testing.F) {
	for _, s := range []string{"look", "take lamp", "drop lamp", "say hi", "say", "north", "exit", "join Bob", "\xff\x00", "take \u2003x", "LOOK\r\n", "drop ﬁ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newRoom(t, "lamp", "coin")
		alice := join(t, r, "Alice", true)
		c := ParseCommand(text)
		var reply Reply
		if c.Verb == Join {
			_, reply = r.Join(c.Text, false)
		} else {
			reply = r.Do(alice, c)
		}
		for _, s := range []string{reply.Text, reply.Notice} {
			if len(s) > MaxText || !utf8.ValidString(s) {
				t.Errorf("%q: %d bytes, %q", text, len(s), s)
			}
		}
		if strings.Contains(reply.Notice, "\n") || reply.Text == "" {
			t.Errorf("%q: %+v", text, reply)
		}
	})
}
