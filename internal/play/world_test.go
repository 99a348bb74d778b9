package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"foyer"
)

// The sample world has at least six rooms, the first is the Foyer, and every
// exit leads back.
func TestSampleWorld(t *testing.T) {
	f, err := os.Open("../../testdata/world.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	places, err := readWorld(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(places) < 6 || places[0].name != "Foyer" {
		t.Errorf("%d rooms, the first is %s", len(places), places[0].name)
	}
	back := map[foyer.Direction]foyer.Direction{
		foyer.North: foyer.South, foyer.South: foyer.North, foyer.East: foyer.West, foyer.West: foyer.East, foyer.Up: foyer.Down, foyer.Down: foyer.Up,
	}
	byName := map[string]place{}
	for _, p := range places {
		byName[p.name] = p
	}
	for _, p := range places {
		for direction, next := range p.exits {
			if got := byName[next].exits[back[direction]]; got != p.name {
				t.Errorf("%s of %s is %s, but %s of that is %q", direction, p.name, next, back[direction], got)
			}
		}
	}
}

func TestReadWorld(t *testing.T) {
	places, err := readWorld(strings.NewReader("# a world\nHall\nIt is big.\nitem: tin drum\nup: Loft\n\n\nLoft\nIt is small.\nitem: -x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := places[0].arguments(), []string{"--up", "Loft", "--", "Hall", "It is big.", "tin drum"}; !reflect.DeepEqual(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
	if got, want := places[1].arguments(), []string{"--", "Loft", "It is small.", "-x"}; !reflect.DeepEqual(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
	for input, want := range map[string]string{
		"":                               "there is no room in it",
		"# nothing\n":                    "there is no room in it",
		"Hall\n":                         "the room Hall has no description",
		"Hall\nBig.\n\nHall\nBig.":       "the room Hall is there twice",
		"Hall\nBig.\nup: Loft":           "up of Hall there is no room Loft",
		"Hall\nBig.\nin: Loft":           "line 3: neither an item nor a new exit: in: Loft",
		"Hall\nBig.\nup: Hall\nup: Hall": "line 4: neither an item nor a new exit: up: Hall",
		"Two  spaces\nA room.\n":         "line 1: the name has two spaces in a row",
		"Hall\nBig.\n\n" + strings.Repeat("x", 1<<17): "bufio.Scanner: token too long",
	} {
		if _, err := readWorld(strings.NewReader(input)); err == nil || err.Error() != want {
			t.Errorf("%.40q: error %v, want %s", input, err, want)
		}
	}
}
