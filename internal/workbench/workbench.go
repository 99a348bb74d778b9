//go:build linux

// Package workbench is what the repository's benchmarks have in common: servers
// on one core and their load on another, the registry's load tool, and how
// figures are summarized and printed.
package workbench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The server has ServerCPU for itself and the load has LoadCPU.
const (
	ServerCPU = 0
	LoadCPU   = 1
	AllCPUs   = -1
)

// Start starts c on one processor, with one thread at a time for Go code, or on
// AllCPUs. c.Env is what it gets beside the environment.
func Start(c *exec.Cmd, cpu int) error {
	if cpu == AllCPUs {
		return c.Start()
	}
	c.Env = append(append(os.Environ(), "GOMAXPROCS=1"), c.Env...)
	runtime.LockOSThread() // a child inherits the processors of the thread that forks it
	defer runtime.UnlockOSThread()
	restore, err := pin(cpu % runtime.NumCPU())
	if err != nil {
		return err
	}
	defer restore()
	return c.Start()
}

// pin keeps the calling thread on one processor until it is restored.
func pin(cpu int) (restore func(), err error) {
	var old, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, os.NewSyscallError("sched_setaffinity", err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &old) }, nil
}

// Machine describes the machine.
func Machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%s, Linux %s", model, unix.ByteSliceToString(u.Release[:]))
}

// Programs is the folder of the measured programs.
type Programs string

// Build builds the registry into the folder; it runs at the root of the
// repository.
func (p Programs) Build(ctx context.Context) error {
	return Run(ctx, "go", "build", "-o", string(p)+"/", "./registry")
}

// Run runs a program that is not measured; its output goes to standard error.
func Run(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// A Server is a process that answers on Addr, host:port.
type Server struct {
	Cmd  *exec.Cmd
	Addr string
}

// Start starts a server of the folder on the server's processor, or on AllCPUs,
// and waits for the line that says where it listens: "NAME: listening on
// HOST:PORT".
func (p Programs) Start(ctx context.Context, cpu int, name string, args ...string) (*Server, error) {
	c := exec.CommandContext(ctx, filepath.Join(string(p), name), args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := Start(c, cpu); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), name+": listening on ")
	if !ok {
		_ = c.Process.Kill()
		_ = c.Wait()
		return nil, fmt.Errorf("%s said %q, %v", name, line, err)
	}
	return &Server{c, addr}, nil
}

// StartRegistry starts a registry on a port of the system's choice.
func (p Programs) StartRegistry(ctx context.Context, cpu int, store string) (*Server, error) {
	return p.Start(ctx, cpu, "registry", "serve", "--listen", "127.0.0.1:0", "--http", "off", "--store", store, "--log-level", "error")
}

// Stop interrupts the server and waits for its end. A second Stop does nothing.
func (s *Server) Stop() {
	if s.Cmd.ProcessState == nil {
		_ = s.Cmd.Process.Signal(os.Interrupt)
		_ = s.Cmd.Wait()
	}
}

// A Result is what `registry bench --format json` prints, as far as it matters
// here.
type Result struct {
	PerSecond float64            `json:"requests_per_second"`
	Requests  float64            `json:"requests"`
	Lost      float64            `json:"lost"`
	Refused   map[string]float64 `json:"refused"`
	Latency   map[string]float64 `json:"latency_us"` // by percentile, "p99"
}

// Load puts load on a server that speaks the registry's protocol, with
// `registry bench`.
func (p Programs) Load(ctx context.Context, addr string, args ...string) (*Result, error) {
	c := exec.CommandContext(ctx, filepath.Join(string(p), "registry"),
		append([]string{"bench", "--discovery", addr, "--keep", "--format", "json"}, args...)...)
	var r Result
	return &r, RunLoad(c, &r)
}

// RunLoad runs a load tool and reads the JSON that it prints into result.
func RunLoad(c *exec.Cmd, result any) error {
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err := Start(c, LoadCPU)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, errs.String())
	}
	return json.Unmarshal([]byte(out.String()), result)
}

// Fill registers the first rooms with a registry.
func (p Programs) Fill(ctx context.Context, addr string, names uint64, ttl string) error {
	_, err := p.Load(ctx, addr, "--duration", "1ms", "--names", fmt.Sprint(names), "--ttl", ttl)
	return err
}
