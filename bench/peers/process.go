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
	"strings"
	"syscall"
	"time"

	"foyer/internal/workbench"
)

// A process is a server that is measured, on the server's core.
type process struct {
	cmd   *exec.Cmd
	port  string // on 127.0.0.1
	log   string // file of what it prints
	ended chan struct{}

	rates map[string]float64 // requests a second that it has shown, by work; see redis
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
	p := &process{cmd: c, port: port, log: log.Name(), ended: make(chan struct{}), rates: map[string]float64{}}
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

// busy returns how long the two cores have worked since the machine started, for
// programs and for the kernel.
func busy() (spent [2]time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return spent, err
	}
	for cpu := range spent {
		_, rest, ok := strings.Cut(string(text), fmt.Sprintf("cpu%d ", cpu))
		if !ok {
			return spent, fmt.Errorf("/proc/stat has no cpu%d", cpu)
		}
		var user, nice, system, idle, iowait, irq, softirq int64
		if _, err := fmt.Sscan(rest, &user, &nice, &system, &idle, &iowait, &irq, &softirq); err != nil {
			return spent, fmt.Errorf("/proc/stat: %w", err)
		}
		// Linux counts in hundredths of a second there, on every machine (USER_HZ).
		spent[cpu] = time.Duration(user+nice+system+irq+softirq) * 10 * time.Millisecond
	}
	return spent, nil
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
