package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"foyer"
	"foyer/client"
	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/storage/storetest"
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
	for _, r := range []client.Registration{
		{Name: "Foyer", Address: "room://hall.example:40001", TTL: time.Minute},
		{Name: "Great Hall", Address: "room://hall.example:40002", TTL: time.Minute},
	} {
		if _, err := c.Register(context.Background(), r); err != nil {
			log.Fatal(err)
		}
	}
	return address
})

func ExampleClient_Lookup() {
	c, err := client.New(client.Options{Registries: []string{registry()}})
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
	// Output: it listens at hall.example:40002
}

func ExampleClient_LookupAll() {
	c, err := client.New(client.Options{
		Registries: []string{registry()},
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
	// Output:
	// Foyer is at hall.example:40001
	// Great Hall is at hall.example:40002
	// Attic cannot be found: no room of that name is registered
}

func ExampleClient_RenewAll() {
	c, err := client.New(client.Options{Registries: []string{registry()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rooms := []client.Registration{
		{Name: "Foyer", Address: "room://hall.example:40001", TTL: 30 * time.Second},
		{Name: "Pantry", Address: "room://hall.example:40003", TTL: 30 * time.Second},
	}
	for i, renewed := range c.RenewAll(context.Background(), rooms) {
		if errors.Is(renewed.Err, foyer.ErrUnknownName) {
			renewed.TTL, renewed.Err = c.Register(context.Background(), rooms[i])
			fmt.Println(rooms[i].Name, "was not registered any more")
		}
		if renewed.Err != nil {
			log.Print(renewed.Err)
		}
		fmt.Println(rooms[i].Name, "has a lease of", renewed.TTL)
	}
	// Output:
	// Foyer has a lease of 30s
	// Pantry was not registered any more
	// Pantry has a lease of 30s
}

func ExampleClient_Claim() {
	c, err := client.New(client.Options{Registries: []string{registry()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	lease, err := c.Claim(ctx, client.Registration{
		Name:    "Cellar",
		Address: "room://hall.example:40004",
		TTL:     30 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for e := range lease.Events() {
			fmt.Println(e.Kind) // later perhaps: registry silent, registry answering again
		}
		if errors.Is(lease.Err(), foyer.ErrReplaced) {
			fmt.Println("somebody else is the Cellar now")
		}
	})

	// The room is open here, and when it closes:
	if err := lease.Release(ctx); err != nil {
		log.Print(err)
	}
	watching.Wait()
	// Output: registered
}

func ExampleOpenKey() {
	dir, err := os.MkdirTemp("", "foyer-example-") // one that stays, for a room that is to stay
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	key, err := client.OpenKey(filepath.Join(dir, "cellar.key"))
	if err != nil {
		log.Fatal(err)
	}
	cellar := client.Registration{Name: "Cellar", Address: "room://hall.example:40004", Key: key}

	later, err := client.OpenKey(filepath.Join(dir, "cellar.key"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same owner:", later.Equal(cellar.Key))
	// Output: the same owner: true
}
