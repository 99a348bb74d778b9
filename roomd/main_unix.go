//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreTerminalInput keeps a room that was started in the background of a
// terminal from being stopped when it reads there: the read fails instead, and
// the console ends.
func ignoreTerminalInput() { signal.Ignore(syscall.SIGTTIN) }
