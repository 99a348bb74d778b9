package player_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"foyer"
	"foyer/client"
	"foyer/player"
)

func ExamplePlayer() {
	c, err := client.New(client.Options{Registries: []string{"127.0.0.1:7666"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	alice := player.New(c, "Alice", player.Options{})
	defer alice.Close()
	summary, err := alice.Start(ctx, "Foyer")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(summary)
	reply, err := alice.Go(ctx, foyer.North)
	away, unreachable := errors.AsType[*player.UnreachableError](err)
	switch {
	case unreachable && away.Back == nil:
		fmt.Println(away, "so Alice is back in the", alice.Room())
	case err != nil:
		log.Fatal(err)
	case reply.OK:
		fmt.Println(reply.Text) // the summary of the room there
	default:
		fmt.Println(reply.Text) // You cannot go north from this room.
	}
}

func ExampleJoin() {
	ctx := context.Background()
	session, summary, err := player.Join(ctx, "room://hall.example:40001", "Alice", player.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	fmt.Println(summary)
	go func() {
		for text := range session.Messages() {
			fmt.Println(text) // Bob entered the room.
		}
		fmt.Println(session.Err())
	}()
	reply, err := session.Do(ctx, "north")
	if err != nil {
		log.Fatal(err)
	}
	if reply.OK {
		fmt.Println("the next room is", reply.Text)
	}
}
