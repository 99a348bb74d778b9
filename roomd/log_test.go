package main

import (
	"context"
	"io"
	"testing"

	"foyer"
)

// A room whose standard error nobody reads goes on, and ends cleanly.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	_, stderr := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, stdin := io.Pipe()
	defer stdin.Close()
	p := &program{t, stdin, newOutput(), newOutput(), cancel, make(chan int, 1)}
	go func() {
		p.status <- run(ctx, []string{"--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall."}, in, p.stdout, stderr)
	}()
	ann := dial(t, p.address())
	ann.ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	ann.ask("say hello", `You said "hello".`)
	p.interrupt()
	p.wait(0)
	ann.hear("disconnect")
}

// Nor does a room wait for the reader of its standard output: it is served,
// ends cleanly, and deregisters.
func TestStuckOutput(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	_, stdout := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, stdin := io.Pipe()
	defer stdin.Close()
	p := &program{t, stdin, newOutput(), newOutput(), cancel, make(chan int, 1)}
	go func() {
		p.status <- run(ctx, []string{"--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall."}, in, stdout, p.stderr)
	}()
	ann := dial(t, foyer.Address(p.stderr.await(t, `msg=registered .*address=(room://\S+)`)))
	ann.ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	p.interrupt()
	p.wait(0)
	p.stderr.await(t, `msg=deregistered`)
	ann.hear("disconnect")
}
