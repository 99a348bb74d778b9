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
)

// A world is where rooms are found and joined: the registry and the rooms, or
// a small world of a test's own.
type world interface {
	// Lookup returns the address of a room.
	Lookup(ctx context.Context, name foyer.Name) (foyer.Address, error)

	// Join enters the room called name at an address and returns what the
	// player sees there.
	Join(ctx context.Context, name foyer.Name, at foyer.Address, player string) (session, string, error)

	Close() error
}

// A session is a player's stay in a room.
type session interface {
	// Do sends a command and returns the room's answer; ok is false for what
	// the room did not do.
	Do(ctx context.Context, command string) (text string, ok bool, err error)

	// Messages returns what the room says without being asked. It is closed
	// when the session is over; Err says why: errClosed, errLost or a fault.
	Messages() <-chan string
	Err() error

	// Close ends the session on this side. It is safe to call it again.
	Close() error
}

// errLost is what a session answers when its room does not know it any more.
var errLost = errors.New("the room has taken you for gone")

// A game is a player in one room at a time, who carries things from room to
// room. One goroutine owns it.
type game struct {
	name    string // canonical
	world   world
	console *console
	asked   bool // the console is waiting for a line

	room    foyer.Name
	at      foyer.Address
	session session
	held    []thing // one for each take that a room granted
}

// A thing is something held. One that was taken in the present room stays
// there if the room loses the player.
type thing struct {
	name string
	here bool
}

// errLeft and errClosed end the play without a fault.
var (
	errLeft   = errors.New("the player has left")
	errClosed = errors.New("the room has closed")
)

// play joins the room and plays until the player leaves, the room closes or
// something fails.
func (p *game) play(ctx context.Context, start foyer.Name) error {
	at, err := p.world.Lookup(ctx, start)
	if errors.Is(err, client.ErrNoAnswer) {
		err = command.AskElsewhere(err)
	}
	if err == nil {
		err = p.join(ctx, start, at)
	}
	if err != nil {
		return err
	}
	defer func() { p.session.Close() }()
	for err == nil {
		err = p.turn(ctx)
	}
	switch {
	case errors.Is(err, errLeft):
		err = nil
	case errors.Is(err, errClosed):
		p.console.Close()
		p.console.Show(fmt.Sprintf("The room %s has closed.", p.room))
		err = nil
	}
	return errors.Join(err, p.console.err)
}

// turn waits for one thing to happen and deals with it.
func (p *game) turn(ctx context.Context) error {
	if p.console.err != nil || ctx.Err() != nil {
		return p.leave(ctx)
	}
	if !p.asked {
		p.console.Ask()
		p.asked = true
	}
	select {
	case text, open := <-p.session.Messages():
		if !open {
			return p.lost(ctx, p.session.Err())
		}
		p.console.Show(text)
		return nil
	case line, open := <-p.console.Lines():
		p.asked = false
		if !open {
			return p.leave(ctx)
		}
		return p.command(ctx, line)
	case <-ctx.Done():
		return p.leave(ctx)
	}
}

// enter looks the room up and joins it.
func (p *game) enter(ctx context.Context, name foyer.Name) error {
	at, err := p.world.Lookup(ctx, name)
	if err != nil {
		return err
	}
	return p.join(ctx, name, at)
}

func (p *game) join(ctx context.Context, name foyer.Name, at foyer.Address) error {
	// A join that is called off halfway would leave a ghost in the room.
	s, summary, err := p.world.Join(context.WithoutCancel(ctx), name, at, p.name)
	if err != nil {
		return err
	}
	p.room, p.at, p.session = name, at, s
	p.console.Show(summary)
	return nil
}

// ask sends a command to the room, and shows what the room says meanwhile. A
// signal does not cut it short: whether a take took effect must be known before
// the player leaves.
func (p *game) ask(ctx context.Context, command string) (text string, ok bool, err error) {
	answered := make(chan struct{})
	go func() { // ends with the request, after five seconds at most
		defer close(answered)
		text, ok, err = p.session.Do(context.WithoutCancel(ctx), command)
	}()
	messages := p.session.Messages()
	for {
		select {
		case m, open := <-messages:
			if open {
				p.console.Show(m)
			} else {
				messages = nil // the answer says what became of the session
			}
		case <-answered:
			p.showWaiting(messages)
			return text, ok, err
		}
	}
}

// showWaiting shows the messages that came before the answer did.
func (p *game) showWaiting(messages <-chan string) {
	for {
		select {
		case m, open := <-messages:
			if !open {
				return
			}
			p.console.Show(m)
		default:
			return
		}
	}
}

// move follows the player to the room that the last one named. If there is no
// getting in, the player is back where they were.
func (p *game) move(ctx context.Context, answer string) error {
	left, leftAt := p.room, p.at
	p.session.Close()
	next, err := foyer.ParseName(answer)
	if err != nil {
		err = fmt.Errorf("the room gave a name that cannot be: %w", err)
	} else {
		err = p.enter(context.WithoutCancel(ctx), next)
	}
	if err == nil {
		for i := range p.held {
			p.held[i].here = false
		}
		return nil
	}
	p.console.Show(fmt.Sprintf("You cannot get to %s: %v.", answer, err))
	if backErr := p.join(ctx, left, leftAt); backErr != nil {
		if backErr = p.enter(context.WithoutCancel(ctx), left); backErr != nil { // it may have a new address
			return fmt.Errorf("there is no way back to %s: %w", left, backErr)
		}
	}
	return nil
}

// rejoin is for a room that has lost the player, after a long silence perhaps:
// what was taken there has stayed there.
func (p *game) rejoin(ctx context.Context) error {
	p.session.Close()
	p.console.Show("The room had taken you for gone. You enter it again; what you took here has stayed here.")
	p.held = slices.DeleteFunc(p.held, func(t thing) bool { return t.here })
	return p.join(ctx, p.room, p.at)
}

// leave drops everything in the room and says goodbye. It takes five seconds at
// most if the room is silent; a second signal does not wait for that.
func (p *game) leave(ctx context.Context) error {
	p.console.Close()
	for _, t := range slices.Clone(p.held) {
		if err := p.drop(ctx, t.name); err != nil {
			return p.leftOr(err)
		}
	}
	text, _, err := p.ask(ctx, "exit")
	if err != nil {
		return p.leftOr(err)
	}
	p.console.Show(text)
	return errLeft
}

// leftOr takes it as leaving that the room has already lost the player.
func (p *game) leftOr(err error) error {
	if errors.Is(err, errLost) {
		return errLeft
	}
	return err
}

// find returns the index of what is held under a name: the very name, or else
// one that differs in upper and lower case only. It is -1 for nothing.
func (p *game) find(name string) int {
	i := slices.IndexFunc(p.held, func(t thing) bool { return t.name == name })
	if i < 0 {
		i = slices.IndexFunc(p.held, func(t thing) bool { return strings.EqualFold(t.name, name) })
	}
	return i
}
