package world_test

import (
	"fmt"

	"foyer"
	"foyer/world"
)

func Example() {
	hall, err := world.New("Great Hall", "A long table, and no chairs.",
		map[foyer.Direction]foyer.Name{foyer.North: "Kitchen"}, []string{"lamp"})
	if err != nil {
		panic(err)
	}
	alice, reply := hall.Join("Alice", false)
	fmt.Println(reply.Text)
	for _, text := range []string{"take lamp", "say Dark here", "north"} {
		reply = hall.Do(alice, world.ParseCommand(text))
		fmt.Printf("%s (others: %s)\n", reply.Text, reply.Notice)
	}
	// Output:
	// Great Hall
	//
	// A long table, and no chairs.
	//
	// In this room, there is:
	//   lamp
	// lamp taken (others: )
	// You said "Dark here". (others: Alice said "Dark here".)
	// Kitchen (others: Alice left the room, heading north.)
}
