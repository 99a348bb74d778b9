package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"foyer"
	"foyer/client"
)

func ExampleClient_Lookup() {
	c, err := client.New(client.Options{Registries: []string{"127.0.0.1:7666"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Lookup(context.Background(), "Great Hall")
	switch {
	case errors.Is(err, foyer.ErrUnknownName):
		fmt.Println("there is no such room")
	case errors.Is(err, client.ErrNoAnswer):
		fmt.Println(err) // registry 127.0.0.1:7666 did not answer within 5 seconds
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println("it listens at", answer.Address.HostPort())
	}
}

func ExampleClient_LookupAll() {
	c, err := client.New(client.Options{
		Registries: []string{"127.0.0.1:7666"},
		Cache:      1000,
		Stale:      time.Hour, // better an old address than none
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	names := []foyer.Name{"Foyer", "Great Hall", "Attic"}
	for i, found := range c.LookupAll(context.Background(), names) {
		switch {
		case found.Err != nil:
			fmt.Println(names[i], "cannot be found:", found.Err)
		case found.Answer.Stale:
			fmt.Println(names[i], "was at", found.Answer.Address.HostPort(), "when a registry last answered")
		default:
			fmt.Println(names[i], "is at", found.Answer.Address.HostPort())
		}
	}
}

func ExampleClient_RenewAll() {
	c, err := client.New(client.Options{Registries: []string{"127.0.0.1:7666"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rooms := []client.Registration{
		{Name: "Foyer", Address: "room://hall.example:40001", TTL: 30 * time.Second},
		{Name: "Great Hall", Address: "room://hall.example:40002", TTL: 30 * time.Second},
	}
	for i, renewed := range c.RenewAll(context.Background(), rooms) {
		if !errors.Is(renewed.Err, foyer.ErrUnknownName) {
			continue
		}
		if _, err := c.Register(context.Background(), rooms[i]); err != nil {
			log.Print(err)
		}
	}
}

func ExampleClient_Keep() {
	c, err := client.New(client.Options{Registries: []string{"registry-1.example:7666", "registry-2.example:7666"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	hall := client.Registration{
		Name:    "Great Hall",
		Address: "room://hall.example:40001",
		TTL:     30 * time.Second,
	}
	err = c.Keep(ctx, hall, func(change client.Change) {
		fmt.Println(change.Kind) // registered, later perhaps: registry silent
	})
	if errors.Is(err, foyer.ErrReplaced) {
		fmt.Println("somebody else is the Great Hall now")
	}
	// The context that ended Keep would end this too.
	if err := c.Deregister(context.Background(), hall.Name, hall.Key); err != nil {
		log.Print(err)
	}
}

func ExampleClient_Join() {
	c, err := client.New(client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	session, summary, err := c.Join(ctx, "room://hall.example:40001", "Alice")
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
