package etcdtest

import (
	"os/exec"
	"syscall"
)

// tie has the process end with this one.
func tie(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
