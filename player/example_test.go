package player_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"
	"sync"

	"foyer"
	"foyer/client"
	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/player"
	"foyer/room"
	"foyer/storage/storetest"
	"foyer/world"
)

// registry starts a registry with two rooms for the examples, and returns its
// address.
var registry = sync.OnceValue(func() string {
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := discovery.New(storetest.NewModel(storetest.Sabotage{}), discovery.Options{})
	go server.Serve(context.Background(), conn) // until the tests are over
	address := conn.LocalAddr().String()
	c, err := client.New(client.Options{Registries: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	open := func(name foyer.Name, description string, exits map[foyer.Direction]foyer.Name, items ...string) {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			log.Fatal(err)
		}
		r, err := world.New(name, description, exits, items)
		if err != nil {
			log.Fatal(err)
		}
		go room.New(conn, r, room.Options{}).Serve(context.Background())
		at := foyer.Address("room://" + conn.LocalAddr().String())
		if _, err := c.Register(context.Background(), client.Registration{Name: name, Address: at}); err != nil {
			log.Fatal(err)
		}
	}
	open("Foyer", "A round hall.", map[foyer.Direction]foyer.Name{foyer.North: "Library"}, "lamp")
	open("Library", "Shelves up to the ceiling.", nil, "atlas")
	return address
})

func ExamplePlayer() {
	c, err := client.New(client.Options{Registries: []string{registry()}})
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
	fmt.Println(strings.Split(summary, "\n")[0])
	reply, err := alice.Go(ctx, foyer.North)
	away, unreachable := errors.AsType[*player.UnreachableError](err)
	switch {
	case unreachable && away.Back == nil:
		fmt.Println(away, "so Alice is back in the", alice.Room())
	case err != nil:
		log.Fatal(err)
	case reply.OK: // the reply is the summary of the room there
		fmt.Println(reply.Text)
	default: // You cannot go north from this room.
		fmt.Println(reply.Text)
	}
	alice.Session().Do(ctx, "exit")
	// Output:
	// Foyer
	// Library
	//
	// Shelves up to the ceiling.
	//
	// In this room, there is:
	//   atlas
}

func ExampleJoin() {
	c, err := client.New(client.Options{Registries: []string{registry()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	foyerRoom, err := c.Lookup(ctx, "Foyer")
	if err != nil {
		log.Fatal(err)
	}
	session, _, err := player.Join(ctx, foyerRoom.Address, "Bob", player.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	reply, err := session.Do(ctx, "north")
	if err != nil {
		log.Fatal(err)
	}
	if reply.OK {
		fmt.Println("the next room is", reply.Text)
	}
	for text := range session.Messages() {
		fmt.Println(text) // Alice entered the room.
	}
	fmt.Println(session.Err())
	// Output:
	// the next room is Library
	// the player has left the room
}
