package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"foyer/internal/testenv"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// TestMain makes the test binary the registry itself when it is told to, so
// that the processes which are killed have the race detector in them as well.
func TestMain(m *testing.M) {
	if os.Getenv("FOYER_TEST_REGISTRY") != "" {
		main()
	}
	os.Exit(m.Run())
}

// A process is a registry of its own.
type process struct {
	cmd    *exec.Cmd
	addr   string // of its UDP socket
	stderr *strings.Builder
}

// command returns a run of the registry that has not begun.
func registryCommand(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	// The race detector would have each process wait for a second at its end.
	c.Env = append(os.Environ(), "FOYER_TEST_REGISTRY=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	return c
}

// serveProcess starts `registry serve` on a store and waits until it answers.
func serveProcess(t *testing.T, store, listen string, args ...string) *process {
	t.Helper()
	c := registryCommand(append([]string{"serve", "--store", store, "--listen", listen, "--http", "off"}, args...)...)
	p, err := startProcess(t, c, (*exec.Cmd).Start)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// startProcess starts a registry with start and waits until it answers, or
// returns an error when it has ended without having done so.
func startProcess(t *testing.T, c *exec.Cmd, start func(*exec.Cmd) error) (*process, error) {
	t.Helper()
	p := &process{cmd: c, stderr: new(strings.Builder)}
	c.Stderr = p.stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill() })
	hangs := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	hangs.Stop()
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "registry: listening on ")
	if !ok {
		_ = c.Wait()
		return p, fmt.Errorf("registry serve printed %q, %v: %s", line, err, p.stderr)
	}
	p.addr = addr
	return p, nil
}

// kill ends the process as a power cut of that process would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// A worker registers and deregisters rooms of its own, one request at a time,
// each until it is answered.
type worker struct {
	conn net.Conn
	rand *rand.Rand
	name string
	n    int

	mu    sync.Mutex
	acked []exchanged
	rooms map[string]string // registered, by name
}

// exchanged is a request and the answer that it got.
type exchanged struct{ request, reply string }

// ask sends a request until it is answered, across restarts of the registry,
// and fails after a minute.
func (w *worker) ask(request string) (string, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if reply, ok := w.try(request, 50*time.Millisecond); ok {
			return reply, nil
		}
	}
	return "", fmt.Errorf("no answer to %q within a minute", request)
}

// try sends a request once and waits for its answer.
func (w *worker) try(request string, wait time.Duration) (reply string, ok bool) {
	id, _, _ := strings.Cut(request, ";")
	id, _, _ = strings.Cut(id, " ")
	_, _ = w.conn.Write([]byte(request)) // a refused port shows here, too
	_ = w.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 2048)
	for {
		n, err := w.conn.Read(buf)
		if err != nil {
			return "", false
		}
		if strings.HasPrefix(string(buf[:n]), id) {
			return string(buf[:n]), true
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// step makes one change and checks its answer.
func (w *worker) step() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var request, name, addr string
	for n, a := range w.rooms {
		if w.rand.IntN(3) == 0 {
			name, addr = n, a
		}
		break
	}
	if name != "" {
		request = "@id=" + newID() + " DEREGISTER " + name
	} else {
		w.n++
		name = fmt.Sprintf("%s %d", w.name, w.n)
		addr = fmt.Sprintf("room://%s.example:%d", w.name, w.n)
		request = "@id=" + newID() + " REGISTER " + addr + " " + name
	}
	reply, err := w.ask(request)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(reply, " OK") {
		return fmt.Errorf("%q got %q", request, reply)
	}
	w.acked = append(w.acked, exchanged{request, reply})
	if strings.Contains(request, "DEREGISTER") {
		delete(w.rooms, name)
	} else {
		w.rooms[name] = addr
	}
	return nil
}

// check asks again for a sample of what was answered, all of it if most is 0,
// and looks up the rooms.
func (w *worker) check(most int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	sample := w.acked
	if most > 0 && len(sample) > most {
		sample = make([]exchanged, most)
		for i := range sample {
			sample[i] = w.acked[w.rand.IntN(len(w.acked))]
		}
	}
	for _, e := range sample {
		reply, err := w.ask(e.request)
		if err != nil {
			return err
		}
		if reply != e.reply {
			return fmt.Errorf("the retry of %q got %q, first %q", e.request, reply, e.reply)
		}
	}
	looked := 0
	for name, addr := range w.rooms {
		reply, err := w.ask("@id=" + newID() + " LOOKUP " + name)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(reply, " OK "+addr) {
			return fmt.Errorf("the acknowledged room %q is lost: %q", name, reply)
		}
		if looked++; looked == most {
			break
		}
	}
	return nil
}

// The registry is killed again and again amid a load. Whatever it acknowledged
// is there, and every retry gets the answer that the first try got.
func TestKill(t *testing.T) {
	kills := 20 // make soak: 100
	if s := os.Getenv("FOYER_KILLS"); s != "" {
		kills, _ = strconv.Atoi(s)
	}
	n := testenv.Seed(t)
	random := rand.New(rand.NewPCG(n, 0))

	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0")
	addr := p.addr
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	progress := make(chan struct{}) // an acknowledged change, while the next kill is due
	workers := make([]*worker, 8)
	for i := range workers {
		w := &worker{conn: dial(t, addr), rand: rand.New(rand.NewPCG(n, uint64(i+1))), name: "w" + strconv.Itoa(i), rooms: map[string]string{}}
		workers[i] = w
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := w.step(); err != nil {
					t.Error(err)
					return
				}
				select {
				case progress <- struct{}{}:
				default: // nobody counts just now
				}
			}
		})
	}
	for range kills {
		for range random.IntN(100) {
			select {
			case <-progress:
			case <-time.After(time.Minute):
				t.Fatal("nothing is answered any more")
			}
		}
		p.kill()
		p = serveProcess(t, store, addr)
		if err := workers[random.IntN(len(workers))].check(3); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	cancel()
	wg.Wait()
	acked, rooms := 0, 0
	for _, w := range workers {
		if err := w.check(0); err != nil {
			t.Error(err)
		}
		acked += len(w.acked)
		rooms += len(w.rooms)
	}
	t.Logf("%d kills, %d changes acknowledged, %d rooms", kills, acked, rooms)

	// The dump shows the same rooms, with the server and without it.
	for _, running := range []bool{true, false} {
		if !running {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v: %s", err, p.stderr)
			}
		}
		out, err := registryCommand("dump", "--store", store, "--format", "json").Output()
		if err != nil {
			t.Fatalf("dump: %v", err)
		}
		if got := strings.Count(string(out), "\n"); got != rooms {
			t.Errorf("the dump has %d rooms, want %d", got, rooms)
		}
	}
	if out, err := registryCommand("verify", "--store", store).CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

// A look-up that a signal ends does not blame the registry.
func TestLookupInterrupted(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		silent, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		c := registryCommand("lookup", "--discovery", silent.LocalAddr().String(), "Hall")
		var stderr strings.Builder
		c.Stderr = &stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := silent.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := silent.ReadFrom(make([]byte, 2000)); err != nil {
			t.Error(err)
		}
		if err := c.Process.Signal(signal); err != nil {
			t.Error(err)
		}
		_ = c.Wait()
		if got := c.ProcessState.ExitCode(); got != 1 || stderr.String() != "registry: interrupted\n" {
			t.Errorf("%v: status %d, stderr %q", signal, got, stderr.String())
		}
	}
}
