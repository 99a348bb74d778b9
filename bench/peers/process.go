//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"foyer/internal/workbench"
)

// A process is a server that is measured, on the server's core.
type process struct {
	cmd   *exec.Cmd
	port  string // on 127.0.0.1
	log   string // file of what it prints
	ended chan struct{}
}

func (p *process) addr() string { return "127.0.0.1:" + p.port }

// start starts a server in a process group of its own, as some of them fork. It
// runs until stop.
func (s *stage) start(port, name string, args ...string) (*process, error) {
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Dir = s.dir
	log, err := os.Create(filepath.Join(s.dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := workbench.Start(c, workbench.ServerCPU); err != nil {
		return nil, err
	}
	p := &process{cmd: c, port: port, log: log.Name(), ended: make(chan struct{})}
	go func() { // until the process ends, which stop sees to
		_ = c.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the server and whatever it has forked.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// ready waits until check succeeds. Its error is why it did not, or the last
// line of a server that has given up.
func (p *process) ready(ctx context.Context, check func(context.Context) error) error {
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		err := check(once)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended: %s", lastLine(p.log))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}

// freePort returns a port on 127.0.0.1 that is free for TCP and UDP, in all
// likelihood until a server takes it a moment later.
func freePort() (string, error) {
	for range 100 {
		t, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		u, err := net.ListenPacket("udp", t.Addr().String())
		_ = t.Close()
		if err == nil {
			_ = u.Close()
			_, port, err := net.SplitHostPort(t.Addr().String())
			return port, err
		}
	}
	return "", errors.New("no port is free for TCP and UDP")
}

// spent returns how much processor time the server has used, with all that it
// has forked, and how much the load tools that have ended.
func (p *process) spent() (server, load time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0, err
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// proc_pid_stat(5): the name, in parentheses, may have spaces.
		words := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(words) < 13 || words[2] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		for _, ticks := range words[11:13] { // in programs and in the kernel
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return 0, 0, fmt.Errorf("%s: %w", path, err)
			}
			server += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100 on every machine
		}
	}
	var children unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &children); err != nil {
		return 0, 0, os.NewSyscallError("getrusage", err)
	}
	return server, time.Duration(children.Utime.Nano() + children.Stime.Nano()), nil
}

// loadAverage says how much else the machine had to do in the last minute: a
// table that is taken beside other work is worth little.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	minute, _, _ := strings.Cut(string(text), " ")
	return "load average before " + minute
}

// output runs a program that answers at once and returns what it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	text, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(text)), err
}
