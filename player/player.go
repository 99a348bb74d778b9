package player

import (
	"context"
	"errors"
	"fmt"

	"foyer"
	"foyer/client"
)

// A Player walks through a world and is in one room at a time. Its methods must
// not be called concurrently.
type Player struct {
	registries *client.Client
	name       string
	options    Options

	// The room that was entered last; none before Start.
	room    foyer.Name
	at      foyer.Address
	session *Session
}

// New returns a player called name who is in no room yet. It looks rooms up
// through registries, which it does not close.
func New(registries *client.Client, name string, o Options) *Player {
	return &Player{registries: registries, name: name, options: o}
}

// Start looks a room up, enters it and returns its summary. Its error is a
// [*LookupError], or says why the room could not be entered: it wraps a
// [*foyer.Error] or is a [*client.NoAnswerError]. Only the look-up ends with ctx.
func (p *Player) Start(ctx context.Context, room foyer.Name) (summary string, err error) {
	found, err := p.registries.Lookup(ctx, room)
	if err != nil {
		return "", &LookupError{room, err}
	}
	return p.enter(ctx, room, found.Address)
}

// enter joins a room that has been looked up. It ignores the end of ctx and
// takes up to client.Timeout: a join that is canceled halfway would leave a
// ghost in the room.
func (p *Player) enter(ctx context.Context, room foyer.Name, at foyer.Address) (summary string, err error) {
	s, summary, err := enter(context.WithoutCancel(ctx), at, "the room "+string(room), p.name, p.options)
	if err != nil {
		if refusal, ok := errors.AsType[*foyer.Error](err); ok {
			err = fmt.Errorf("the room %s does not let you in: %w", room, refusal)
		}
		return "", err
	}
	p.Close()
	p.room, p.at, p.session = room, at, s
	return summary, nil
}

// Go takes the exit in a direction. The reply is OK with the summary of the
// room there or, if there is no exit, the room's refusal.
//
// Once the room has let the player go, Go looks the next room up and enters it
// even if ctx ends. If that fails, the player goes back: the error is an
// [*UnreachableError], and the reply has the summary of the room that they are
// back in. Other errors are those of [Session.Do].
func (p *Player) Go(ctx context.Context, d foyer.Direction) (Reply, error) {
	reply, err := p.session.Do(ctx, d.String())
	if err != nil || !reply.OK {
		return reply, err
	}
	p.session.Close()
	ctx = context.WithoutCancel(ctx) // the player is in no room at the moment
	var summary string
	next, err := foyer.ParseName(reply.Text)
	if err != nil {
		err = fmt.Errorf("the room gave an invalid name: %w", err)
	} else {
		summary, err = p.Start(ctx, next)
	}
	if err == nil {
		return Reply{OK: true, Text: summary}, nil
	}
	away := &UnreachableError{Room: reply.Text, Err: err}
	if summary, err = p.enter(ctx, p.room, p.at); err != nil {
		summary, err = p.Start(ctx, p.room) // it may have a new address by now
	}
	if err != nil {
		away.Back = fmt.Errorf("there is no way back to %s: %w", p.room, err)
	}
	return Reply{Text: summary}, away
}

// Rejoin enters the current room again after it has dropped the player
// ([foyer.ErrUnknownSession]), and returns its summary. Its errors are those of
// Start.
func (p *Player) Rejoin(ctx context.Context) (summary string, err error) {
	p.session.Close()
	return p.enter(ctx, p.room, p.at)
}

// Room returns the name of the room that the player entered last.
func (p *Player) Room() foyer.Name { return p.room }

// Session returns the session in that room, nil before Start. Start, Go and
// Rejoin begin a new one.
func (p *Player) Session() *Session { return p.session }

// Close ends the session, if there is one, as [Session.Close] does. It may be
// called again.
func (p *Player) Close() {
	if p.session != nil {
		p.session.Close()
	}
}
