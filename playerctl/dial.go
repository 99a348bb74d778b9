package main

import (
	"context"
	"errors"
	"fmt"

	"foyer"
	"foyer/client"
	"foyer/player"
)

// network is the real world: packages client and player, with their errors told
// in the player's words.
type network struct {
	*client.Client
	plain bool
}

// dial returns the world behind the registries.
func dial(registries []string, plain bool) (world, error) {
	c, err := client.New(client.Options{Registries: registries, Plain: plain})
	if err != nil {
		return nil, err
	}
	return network{c, plain}, nil
}

func (n network) Lookup(ctx context.Context, name foyer.Name) (foyer.Address, error) {
	a, err := n.Client.Lookup(ctx, name)
	if errors.Is(err, foyer.ErrUnknownName) {
		err = fmt.Errorf("no room called %s is registered", name)
	}
	return a.Address, err
}

func (n network) Join(ctx context.Context, name foyer.Name, at foyer.Address, as string) (session, string, error) {
	s, summary, err := player.Join(ctx, at, as, player.Options{Plain: n.plain})
	if err != nil {
		if refusal, ok := errors.AsType[*foyer.Error](err); ok {
			return nil, "", fmt.Errorf("the room %s does not let you in: %w", name, refusal)
		}
		return nil, "", inRoom(name, err)
	}
	return stay{s, name}, summary, nil
}

// A stay is a session in a room that has a name.
type stay struct {
	*player.Session
	room foyer.Name
}

func (s stay) Do(ctx context.Context, command string) (string, bool, error) {
	r, err := s.Session.Do(ctx, command)
	return r.Text, r.OK, inRoom(s.room, err)
}

func (s stay) Err() error { return inRoom(s.room, s.Session.Err()) }

// inRoom names the room where the client, which knows its address only, does
// not.
func inRoom(name foyer.Name, err error) error {
	if silence, ok := errors.AsType[*client.NoAnswerError](err); ok {
		return &client.NoAnswerError{Peer: "the room " + string(name), Err: silence.Err}
	}
	if refusal, ok := errors.AsType[*foyer.Error](err); ok && refusal.Code == "unknown-session" {
		return errLost
	}
	if errors.Is(err, player.ErrDisconnected) {
		return errClosed
	}
	return err
}
