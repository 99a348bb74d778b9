package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"foyer/internal/command"
)

func main() {
	// Kept after the first signal: nobody else stops the rooms.
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	end, _ := signal.NotifyContext(context.Background(), signals...)
	interrupt, _ := signal.NotifyContext(end, os.Interrupt)
	os.Exit(run(end, interrupt, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(end, interrupt context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("play", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "the folder of registry, roomd and playerctl")
	player := flags.String("player", "Alice", "the player's name")
	if err := flags.Parse(args); err != nil {
		return command.Misuse
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(stderr, "play: usage: play [-bin DIR] [-player NAME] WORLD")
		return command.Misuse
	}
	status, err := play(end, interrupt, *bin, *player, flags.Arg(0), stdin, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "play: %v\n", err)
	}
	return status
}

func play(end, interrupt context.Context, bin, player, worldFile string, stdin io.Reader, stdout, stderr io.Writer) (status int, err error) {
	f, err := os.Open(worldFile)
	if err != nil {
		return command.Failed, err
	}
	places, err := readWorld(f)
	f.Close()
	if err != nil {
		return command.Failed, fmt.Errorf("%s: %w", worldFile, err)
	}
	dir, err := os.MkdirTemp("", "foyer-play-")
	if err != nil {
		return command.Failed, err
	}
	w := &world{bin: bin, dir: dir}
	defer func() {
		if closeErr := w.close(); closeErr != nil {
			status, err = max(status, command.Failed), errors.Join(err, closeErr)
		}
		if rmErr := os.RemoveAll(dir); rmErr != nil {
			status, err = max(status, command.Failed), errors.Join(err, rmErr)
		}
	}()
	if err := w.open(interrupt, places); err != nil {
		if interrupt.Err() != nil {
			err = nil // stopped before it had begun
		}
		return command.Failed, err
	}
	cmd := exec.Command(w.program("playerctl"), "--discovery", w.discovery, "--", player, places[0].name)
	return visit(end, interrupt, cmd, stdin, stdout, stderr)
}

// visit runs the player's program until it ends by itself. It may have got the
// signal too, as with Ctrl-C on a terminal, and a second one would interrupt
// its leaving; so a signal is passed on only if the program is still there
// after a second or, for an interrupt, after it has had time to give up on a
// silent room.
func visit(end, interrupt context.Context, cmd *exec.Cmd, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Env = environment()
	if err := cmd.Start(); err != nil {
		return command.Failed, err
	}
	passOn := func(after time.Duration) func() {
		return func() { time.AfterFunc(after, func() { terminate(cmd.Process) }) }
	}
	defer context.AfterFunc(end, passOn(time.Second))()
	defer context.AfterFunc(interrupt, passOn(7*time.Second))()
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil // it has reported why
	}
	if err != nil {
		return command.Failed, err
	}
	return command.Done, nil
}
