package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"foyer"
	"foyer/internal/command"
	"foyer/player"
	"foyer/wire"
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

// shortForms are expanded before they are sent: rooms know only the long ones.
var shortForms = map[string]string{
	"n": "north", "s": "south", "e": "east", "w": "west", "u": "up", "d": "down",
	"i": "inventory", "quit": "exit",
}

// command carries out one line typed by the player.
func (g *game) command(ctx context.Context, line string) error {
	line = strings.TrimSpace(command.Printable(line))
	switch {
	case line == "":
		return nil
	case len(line) > maxLine:
		g.console.Show(fmt.Sprintf("That is longer than %d bytes.", maxLine))
		return nil
	}
	verb, object, _ := strings.Cut(line, " ")
	object = strings.TrimSpace(object)
	if long, ok := shortForms[strings.ToLower(verb)]; ok {
		verb = long
	}
	verb = strings.ToLower(verb)
	direction, goes := foyer.ParseDirection(verb)
	switch {
	case verb == "help" && object == "":
		g.console.Show(help)
		return nil
	case verb == "inventory" && object == "":
		g.console.Show(g.inventory())
		return nil
	case verb == "exit" && object == "":
		return g.leave(ctx)
	case verb == "take" && object != "":
		return g.lost(ctx, g.take(ctx, object))
	case verb == "drop" && object != "":
		return g.lost(ctx, g.drop(ctx, object))
	case goes && object == "":
		return g.lost(ctx, g.walk(ctx, direction))
	case verb == "look" && object == "":
		return g.lost(ctx, g.relay(ctx, verb))
	case verb == "say":
		return g.lost(ctx, g.relay(ctx, strings.TrimSpace(verb+" "+object)))
	case verb == "join" || line[0] == '@':
		g.console.Show(wire.InvalidCommand) // join is for the program to send, not for the player to type
		return nil
	}
	return g.lost(ctx, g.relay(ctx, line))
}

// lost joins again if the room has lost the player.
func (g *game) lost(ctx context.Context, err error) error {
	if errors.Is(err, foyer.ErrUnknownSession) {
		return g.rejoin(ctx)
	}
	return err
}

// relay shows the room's answer to a command that changes nothing on this side.
func (g *game) relay(ctx context.Context, command string) error {
	reply, err := g.ask(ctx, command)
	if err == nil {
		g.console.Show(reply.Text)
	}
	return err
}

func (g *game) take(ctx context.Context, item string) error {
	reply, err := g.ask(ctx, "take "+item)
	if err != nil {
		return err
	}
	g.console.Show(reply.Text)
	// The room's spelling of the item counts, if it is the same item.
	if taken, is := strings.CutSuffix(reply.Text, wire.Taken); reply.OK && is {
		if !strings.EqualFold(taken, item) {
			taken = item
		}
		g.held = append(g.held, thing{taken, true})
	}
	return nil
}

func (g *game) drop(ctx context.Context, item string) error {
	i := g.find(item)
	if i < 0 {
		g.console.Show("You are not holding " + item)
		return nil
	}
	reply, err := g.ask(ctx, "drop "+g.held[i].name)
	if err != nil {
		return err
	}
	g.console.Show(reply.Text)
	if reply.OK && strings.HasSuffix(reply.Text, wire.Dropped) {
		g.held = slices.Delete(g.held, i, i+1)
	}
	return nil
}

// walk goes in a direction and shows the room there, or why the player is
// still, or again, in this one.
func (g *game) walk(ctx context.Context, d foyer.Direction) (err error) {
	var reply player.Reply
	g.listening(func() { reply, err = g.player.Go(context.WithoutCancel(ctx), d) })
	away, unreachable := errors.AsType[*player.UnreachableError](err)
	switch {
	case unreachable:
		g.console.Show(fmt.Sprintf("You cannot get to %s: %v.", away.Room, away.Err))
		if away.Back != nil {
			return away.Back
		}
	case err != nil:
		return err
	case reply.OK:
		for i := range g.held {
			g.held[i].here = false
		}
	}
	g.console.Show(reply.Text)
	return nil
}

func (g *game) inventory() string {
	if len(g.held) == 0 {
		return "You are holding nothing."
	}
	var b strings.Builder
	b.WriteString("You are holding:")
	for _, t := range g.held {
		b.WriteString("\n  " + t.name)
	}
	return b.String()
}
