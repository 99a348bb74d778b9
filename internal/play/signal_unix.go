//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// background puts a program into its own process group, which Ctrl-C on the
// terminal does not reach, and makes it end with this process if the system
// can.
func background(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tie(cmd)
}

func terminate(p *os.Process) { p.Signal(syscall.SIGTERM) }
