package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"foyer/internal/command"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // the reader of our output may go away; the players stay
	ignoreTerminalInput()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return command.Run(ctx, newCommand(), args, stdin, stdout, stderr)
}
