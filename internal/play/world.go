package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"foyer"
)

// A place is one room of a world file.
type place struct {
	name        string
	description string
	exits       map[foyer.Direction]string // the room there
	items       []string
}

// readWorld reads a world file. A paragraph is a room: its name, its
// description and any number of lines "item: NAME" and "DIRECTION: ROOM". Lines
// that begin with # are comments. Every exit must lead to a room of the file.
func readWorld(r io.Reader) ([]place, error) {
	var places []place
	line, inside := 0, 0 // inside counts the lines of the paragraph
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			if s.Err() != nil {
				return nil, s.Err()
			}
			break
		}
		line++
		text := strings.TrimSpace(s.Text())
		if strings.HasPrefix(text, "#") {
			continue
		}
		if text == "" {
			inside = 0
			continue
		}
		inside++
		if inside == 1 {
			if _, err := foyer.ParseName(text); err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			places = append(places, place{name: text, exits: map[foyer.Direction]string{}})
			continue
		}
		p := &places[len(places)-1]
		if inside == 2 {
			p.description = text
			continue
		}
		key, value, ok := strings.Cut(text, ": ")
		d, isExit := foyer.ParseDirection(key)
		switch {
		case ok && key == "item":
			p.items = append(p.items, value)
		case ok && isExit && p.exits[d] == "":
			p.exits[d] = value
		default:
			return nil, fmt.Errorf("line %d: neither an item nor a new exit: %s", line, text)
		}
	}
	return places, checkWorld(places)
}

func checkWorld(places []place) error {
	if len(places) == 0 {
		return fmt.Errorf("there is no room in it")
	}
	known := map[string]bool{}
	for _, p := range places {
		switch {
		case known[p.name]:
			return fmt.Errorf("the room %s is there twice", p.name)
		case p.description == "":
			return fmt.Errorf("the room %s has no description", p.name)
		}
		known[p.name] = true
	}
	for _, p := range places {
		for direction, next := range p.exits {
			if !known[next] {
				return fmt.Errorf("%s of %s there is no room %s", direction, p.name, next)
			}
		}
	}
	return nil
}

// arguments returns the arguments of roomd: exits, name, description and items.
func (p *place) arguments() []string {
	var args []string
	for _, d := range foyer.Directions() {
		if next := p.exits[d]; next != "" {
			args = append(args, "--"+d.String(), next)
		}
	}
	args = append(args, "--", p.name, p.description)
	return append(args, p.items...)
}
