//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreTerminalInput keeps a room that was started with & in a terminal from
// being stopped for reading there: the read fails instead, and the console ends.
func ignoreTerminalInput() { signal.Ignore(syscall.SIGTTIN) }
