// Command registry is Foyer's discovery service and its tools: it keeps the
// names and addresses of rooms, and shows an operator what it keeps.
//
//	registry serve            answer rooms and players over UDP
//	registry dump             print every registration
//	registry import FILE      register what a dump says
//	registry lookup NAME      ask a running registry for a room's address
//	registry explain NAME     tell what happened to a name
//	registry list             print names and addresses
//	registry status           tell how a registry is doing
//	registry watch            print what is registered and what ends as it happens
//	registry evict NAME       end a registration, and keep it from coming back
//	registry allow NAME       let an evicted name be registered again
//	registry verify           check a database file from end to end
//	registry backup FILE      save a checked copy of the database
//	registry restore FILE     put a backup in the place of the database
//	registry compact          make the database file as small as it can be
//	registry bench            put load on a running registry and measure it
//	registry version          print which registry this is
//
// All but lookup, bench and restore work on the file of a running registry as well: they
// ask it over the Unix socket beside the file, which is open to the file's owner
// only. watch needs a registry that runs.
package main

import (
	"context"
	"fmt"
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
		statusCommand(),
		watchCommand(),
		verifyCommand(),
		backupCommand(),
		restoreCommand(),
		compactCommand(),
		benchCommand(),
		versionCommand(),
	)
	return command.Run(ctx, root, args, stdin, stdout, stderr)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which registry this is",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s\n", c.Root().Name(), c.Root().Version)
			return err
		},
	}
}
