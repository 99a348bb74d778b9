// Command registry is Foyer's discovery service and its tools: it keeps the
// names and addresses of rooms, and shows an operator what it keeps.
//
//	registry serve            answer rooms and players over UDP
//	registry dump             print every registration
//	registry import FILE      register what a dump says
//	registry lookup NAME      ask a running registry for a room's address
//	registry explain NAME     tell what happened to a name
//	registry list             print names and addresses
//	registry evict NAME       end a registration, and keep it from coming back
//	registry allow NAME       let an evicted name be registered again
//	registry verify           check a database file from end to end
//	registry bench            put load on a running registry and measure it
//
// All but lookup and bench work on the file of a running registry as well: they
// ask it over the Unix socket beside the file, which is open to the file's owner
// only.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"foyer/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "registry",
		Short: "The discovery service of a world of rooms, and its tools",
	}
	root.AddCommand(
		serveCommand(),
		dumpCommand(),
		importCommand(),
		lookupCommand(),
		explainCommand(),
		evictCommand(),
		allowCommand(),
		listCommand(),
		verifyCommand(),
		benchCommand(),
	)
	return command.Run(ctx, root, args, stdin, stdout, stderr)
}
