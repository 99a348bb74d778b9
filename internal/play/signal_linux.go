package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Linux ends the programs of a world when the thread that started them is gone,
// as after kill -9. That thread has to be the one that lives as long as we do.
func init() { runtime.LockOSThread() }

func tie(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM }
