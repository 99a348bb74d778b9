// Package command is what Foyer's programs have in common as commands: exit
// statuses, one-line errors, flags from the environment, the flags that several
// programs share, and logging.
//
// A program's main is
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//		context.AfterFunc(ctx, stop) // a second signal ends the program at once
//		os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
//	}
//
// and run is [Run] with the program's tree of commands. Nothing below main
// ends the process, installs signal handlers or reads the arguments of the
// process, so tests run whole programs within their own process.
package command
