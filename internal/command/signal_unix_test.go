//go:build unix

package command_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"foyer/internal/command"
)

// A command interrupted by a signal says so, and does not blame whoever it was
// waiting for.
func TestInterrupted(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGUSR1)
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("the signal does not end the context")
	}
	waited := fmt.Errorf("stopped waiting for registry a:1: %w", ctx.Err())
	for _, c := range []struct {
		err    error
		status int
		stderr string
	}{
		{nil, command.Done, ""},
		{waited, command.Failed, "tool: interrupted\n"},
		{errors.New("no such room"), command.Failed, "tool: no such room\n"},
		{errors.Join(errors.New("cannot clean up"), waited), command.Failed,
			"tool: cannot clean up; stopped waiting for registry a:1: context canceled\n"},
		{command.Usagef("%w", waited), command.Misuse, "tool: stopped waiting for registry a:1: context canceled; see 'tool --help'\n"},
	} {
		var out, stderr bytes.Buffer
		root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return c.err }}
		status := command.Run(ctx, root, nil, strings.NewReader(""), &out, &stderr)
		if status != c.status || stderr.String() != c.stderr {
			t.Errorf("%v: status %d, stderr %q, want %d, %q", c.err, status, stderr.String(), c.status, c.stderr)
		}
	}
}
