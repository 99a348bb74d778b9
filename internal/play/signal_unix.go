//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// background puts a program into a process group of its own, which Ctrl-C on the
// terminal does not reach, and ends it with us where the system can.
func background(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tie(cmd)
}

func terminate(p *os.Process) { p.Signal(syscall.SIGTERM) }
