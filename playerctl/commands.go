package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"foyer/internal/command"
)

const help = `look                 see where you are, what is here and who
take ITEM            pick something up
drop ITEM            put something down that you hold
say TEXT             say something to everybody here
north, south, east,  go there, or n, s, e, w, u, d
west, up, down
inventory            see what you hold (or i)
help                 see this
exit                 drop what you hold and leave the game`

// shortForms are spelt out before they are sent: rooms know the long ones.
var shortForms = map[string]string{
	"n": "north", "s": "south", "e": "east", "w": "west", "u": "up", "d": "down",
	"i": "inventory", "quit": "exit",
}

var directions = []string{"north", "south", "east", "west", "up", "down"}

// invalid is what a room says to what is no command.
const invalid = "Invalid command"

// command carries out one line that the player has typed.
func (p *game) command(ctx context.Context, line string) error {
	line = strings.TrimSpace(command.Printable(line))
	switch {
	case line == "":
		return nil
	case len(line) > maxLine:
		p.console.Show(fmt.Sprintf("That is longer than %d bytes.", maxLine))
		return nil
	}
	verb, object, _ := strings.Cut(line, " ")
	object = strings.TrimSpace(object)
	if long, ok := shortForms[strings.ToLower(verb)]; ok {
		verb = long
	}
	switch verb = strings.ToLower(verb); {
	case verb == "help" && object == "":
		p.console.Show(help)
		return nil
	case verb == "inventory" && object == "":
		p.console.Show(p.inventory())
		return nil
	case verb == "exit" && object == "":
		return p.leave(ctx)
	case verb == "take" && object != "":
		return p.lost(ctx, p.take(ctx, object))
	case verb == "drop" && object != "":
		return p.lost(ctx, p.drop(ctx, object))
	case slices.Contains(directions, verb) && object == "":
		return p.lost(ctx, p.walk(ctx, verb))
	case verb == "look" && object == "":
		return p.lost(ctx, p.relay(ctx, verb))
	case verb == "say":
		return p.lost(ctx, p.relay(ctx, strings.TrimSpace(verb+" "+object)))
	case verb == "join" || line[0] == '@':
		p.console.Show(invalid) // what the program says to rooms is not for the player to type
		return nil
	}
	return p.lost(ctx, p.relay(ctx, line))
}

// lost has the player join again where the room has lost them.
func (p *game) lost(ctx context.Context, err error) error {
	if errors.Is(err, errLost) {
		return p.rejoin(ctx)
	}
	return err
}

// relay shows the room's answer to a command that changes nothing here.
func (p *game) relay(ctx context.Context, command string) error {
	text, _, err := p.ask(ctx, command)
	if err == nil {
		p.console.Show(text)
	}
	return err
}

func (p *game) take(ctx context.Context, item string) error {
	text, ok, err := p.ask(ctx, "take "+item)
	if err != nil {
		return err
	}
	p.console.Show(text)
	// The room's spelling of the item counts, where it is the same item.
	if taken, is := strings.CutSuffix(text, " taken"); ok && is {
		if !strings.EqualFold(taken, item) {
			taken = item
		}
		p.held = append(p.held, thing{taken, true})
	}
	return nil
}

func (p *game) drop(ctx context.Context, item string) error {
	i := p.find(item)
	if i < 0 {
		p.console.Show("You are not holding " + item)
		return nil
	}
	text, ok, err := p.ask(ctx, "drop "+p.held[i].name)
	if err != nil {
		return err
	}
	p.console.Show(text)
	if ok && strings.HasSuffix(text, " dropped") {
		p.held = slices.Delete(p.held, i, i+1)
	}
	return nil
}

// walk goes in a direction. The room's answer is the name of the room there,
// and the player has then left this one, or says that there is no way.
func (p *game) walk(ctx context.Context, direction string) error {
	text, ok, err := p.ask(ctx, direction)
	if err != nil {
		return err
	}
	if !ok || text == invalid || text == fmt.Sprintf("You cannot go %s from this room.", direction) {
		p.console.Show(text)
		return nil
	}
	return p.move(ctx, text)
}

func (p *game) inventory() string {
	if len(p.held) == 0 {
		return "You are holding nothing."
	}
	var b strings.Builder
	b.WriteString("You are holding:")
	for _, t := range p.held {
		b.WriteString("\n  " + t.name)
	}
	return b.String()
}
