package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"foyer"
	"foyer/client"
	"foyer/internal/command"
	"foyer/player"
)

// A game is what one player sees, does and holds. One goroutine owns it.
type game struct {
	player  *player.Player
	console *console
	asked   bool    // the console is waiting for a line
	held    []thing // one for each successful take
}

// A thing is something held. One taken in the current room stays there if the
// room loses the player.
type thing struct {
	name string
	here bool
}

// errLeft ends the game without an error.
var errLeft = errors.New("the player has left")

// play enters the room and plays until the player leaves, the room closes or
// something fails.
func (g *game) play(ctx context.Context, start foyer.Name) error {
	defer g.player.Close()
	err := g.enter(g.player.Start(ctx, start))
	if _, ok := errors.AsType[*player.LookupError](err); ok && errors.Is(err, client.ErrNoAnswer) {
		err = command.AskElsewhere(err)
	}
	if err != nil {
		return err
	}
	for err == nil {
		err = g.turn(ctx)
	}
	switch {
	case errors.Is(err, errLeft):
		err = nil
	case errors.Is(err, player.ErrDisconnected):
		g.console.Close()
		g.console.Show(fmt.Sprintf("The room %s has closed.", g.player.Room()))
		err = nil
	}
	return errors.Join(err, g.console.err)
}

// enter shows the room that the player has entered.
func (g *game) enter(summary string, err error) error {
	if err == nil {
		g.console.Show(summary)
	}
	return err
}

// turn waits for one event and handles it.
func (g *game) turn(ctx context.Context) error {
	if g.console.err != nil || ctx.Err() != nil {
		return g.leave(ctx)
	}
	if !g.asked {
		g.console.Ask()
		g.asked = true
	}
	select {
	case text, open := <-g.player.Session().Messages():
		if !open {
			return g.lost(ctx, g.player.Session().Err())
		}
		g.console.Show(text)
		return nil
	case line, open := <-g.console.Lines():
		g.asked = false
		if !open {
			return g.leave(ctx)
		}
		return g.command(ctx, line)
	case <-ctx.Done():
		return g.leave(ctx)
	}
}

// ask sends a command to the room. A signal does not interrupt it: whether a
// take took effect must be known before the player leaves.
func (g *game) ask(ctx context.Context, command string) (reply player.Reply, err error) {
	session := g.player.Session()
	g.listening(func() { reply, err = session.Do(context.WithoutCancel(ctx), command) })
	return reply, err
}

// listening shows what the room says while do, which waits for the room, is
// running.
func (g *game) listening(do func()) {
	done := make(chan struct{})
	messages := g.player.Session().Messages()
	go func() { // ends with the request
		defer close(done)
		do()
	}()
	for {
		select {
		case m, open := <-messages:
			if open {
				g.console.Show(m)
			} else {
				messages = nil // the answer says what happened to the session
			}
		case <-done:
			g.showWaiting(messages)
			return
		}
	}
}

// showWaiting shows the messages that arrived before the answer.
func (g *game) showWaiting(messages <-chan string) {
	for {
		select {
		case m, open := <-messages:
			if !open {
				return
			}
			g.console.Show(m)
		default:
			return
		}
	}
}

// rejoin enters a room again that has lost the player, perhaps after a long
// silence. What was taken there has stayed there.
func (g *game) rejoin(ctx context.Context) error {
	g.console.Show("The room had lost you. You are back in it; what you took here has stayed here.")
	g.held = slices.DeleteFunc(g.held, func(t thing) bool { return t.here })
	return g.enter(g.player.Rejoin(ctx))
}

// leave drops everything in the room and says goodbye. With a silent room that
// takes up to five seconds; a second signal ends the program at once.
func (g *game) leave(ctx context.Context) error {
	g.console.Close()
	for _, t := range slices.Clone(g.held) {
		if err := g.drop(ctx, t.name); err != nil {
			return g.leftOr(err)
		}
	}
	reply, err := g.ask(ctx, "exit")
	if err != nil {
		return g.leftOr(err)
	}
	g.console.Show(reply.Text)
	return errLeft
}

// leftOr treats it as having left if the room has already lost the player.
func (g *game) leftOr(err error) error {
	if errors.Is(err, foyer.ErrUnknownSession) {
		return errLeft
	}
	return err
}

// find returns the index of the thing held with a name, the exact one or else
// one that differs in case only, or -1.
func (g *game) find(name string) int {
	i := slices.IndexFunc(g.held, func(t thing) bool { return t.name == name })
	if i < 0 {
		i = slices.IndexFunc(g.held, func(t thing) bool { return strings.EqualFold(t.name, name) })
	}
	return i
}
