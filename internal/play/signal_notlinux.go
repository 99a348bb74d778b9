//go:build unix && !linux

package main

import "os/exec"

func tie(*exec.Cmd) {}
