//go:build !unix

package main

import (
	"os"
	"os/exec"
)

func background(*exec.Cmd) {}

func terminate(p *os.Process) { p.Kill() } // it cannot be asked to end
