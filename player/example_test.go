package player_test

import (
	"context"
	"fmt"
	"log"

	"foyer/player"
)

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
