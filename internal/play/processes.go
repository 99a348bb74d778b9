package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"foyer"
	"foyer/client"
)

// patience is how long a program may take to start, and to end.
const patience = 15 * time.Second

// A world is a running registry and the rooms that are registered with it.
type world struct {
	bin       string // the folder of the programs
	dir       string // for the database, the rooms' keys and the programs' logs
	discovery string // where the registry listens
	running   []*process
}

// A process is one program of a world, in its own process group, so that Ctrl-C
// on the terminal ends only the player's program.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string        // the file for its standard error
	ended chan struct{} // closed when err is set
	err   error
}

func (w *world) program(name string) string { return filepath.Join(w.bin, name) }

// environment is this process's environment without the user's settings for
// other worlds.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FOYER_") {
			env = append(env, v)
		}
	}
	return env
}

// open starts everything and returns once every room can be looked up.
func (w *world) open(ctx context.Context, places []place) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.openRegistry(ctx); err != nil {
		return err
	}
	c, err := client.New(client.Options{Registries: []string{w.discovery}})
	if err != nil {
		return err
	}
	defer c.Close()
	for i, p := range places {
		args := []string{"--discovery", w.discovery, "--state", filepath.Join(w.dir, "state")}
		if _, err := w.start(fmt.Sprintf("room-%d", i), "roomd", nil, append(args, p.arguments()...)...); err != nil {
			return err
		}
	}
	for i, p := range places {
		if err := w.awaitRoom(ctx, c, w.running[1+i], foyer.Name(p.name)); err != nil {
			return err
		}
	}
	return nil
}

// openRegistry starts the registry and reads where it listens from its first
// line, "registry: listening on ADDRESS".
func (w *world) openRegistry(ctx context.Context) error {
	stdout, child, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdout.Close()
	p, err := w.start("registry", "registry", child, "serve",
		"--listen", "127.0.0.1:0", "--http", "off", "--store", filepath.Join(w.dir, "rooms.db"))
	child.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { stdout.Close() })()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		select {
		case <-p.ended:
		case <-ctx.Done():
		}
		return fmt.Errorf("the registry did not start: %s", p.lastWords())
	}
	words := strings.Fields(line)
	w.discovery = words[len(words)-1]
	return nil
}

// awaitRoom looks a room up until it is registered.
func (w *world) awaitRoom(ctx context.Context, c *client.Client, p *process, name foyer.Name) error {
	for {
		_, err := c.Lookup(ctx, name)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the room %s did not start: %s", name, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("the room %s is not registered after %v: %w", name, patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// start starts a program in the background.
func (w *world) start(name, program string, stdout *os.File, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(w.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if stdout == nil {
		stdout = log
	}
	p.cmd = exec.Command(w.program(program), args...)
	p.cmd.Env = environment()
	p.cmd.Stdout, p.cmd.Stderr = stdout, log // stdin is empty
	background(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	w.running = append(w.running, p)
	go func() { // one for each program of the world
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// close ends the rooms, all at the same time, and then the registry.
func (w *world) close() error {
	var errs []error
	if len(w.running) > 1 {
		errs = append(errs, stop(w.running[1:]))
	}
	if len(w.running) > 0 {
		errs = append(errs, stop(w.running[:1]))
	}
	return errors.Join(errs...)
}

// stop asks programs to end, and kills those that do not.
func stop(running []*process) error {
	for _, p := range running {
		terminate(p.cmd.Process)
	}
	var errs []error
	limit := time.After(patience)
	for _, p := range running {
		select {
		case <-p.ended:
			if p.err != nil {
				errs = append(errs, fmt.Errorf("%s ended with %w: %s", p.name, p.err, p.lastWords()))
			}
		case <-limit:
			limit = time.After(0)
			p.cmd.Process.Kill()
			<-p.ended
			errs = append(errs, fmt.Errorf("%s did not end within %v", p.name, patience))
		}
	}
	return errors.Join(errs...)
}

// lastWords returns the last line of a program's log.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
