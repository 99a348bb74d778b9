package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Linux ends the programs of a world when the thread that started them ends,
// even by kill -9. So that must be the main thread, which lives as long as this
// process.
func init() { runtime.LockOSThread() }

func tie(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM }
