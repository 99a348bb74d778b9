package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"foyer"
	"foyer/client"
	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/storage/storetest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// registry is a real one on a store in memory.
type registry struct {
	*discovery.Server
	store   storage.Store
	address string
	stop    func()
}

func startRegistry(t *testing.T, address string) *registry {
	t.Helper()
	conn, err := udp.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	store := storetest.NewModel(storetest.Sabotage{})
	server := discovery.New(store, discovery.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, conn) }()
	r := &registry{Server: server, store: store, address: conn.LocalAddr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the registry: %v", err)
		}
		conn.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// output collects what a program writes, and lets a test wait for it.
type output struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed at the next change
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until what was written matches, and returns the first group.
func (o *output) await(t *testing.T, expr string) string {
	t.Helper()
	re := regexp.MustCompile(`(?m)` + expr)
	for late := time.After(patience); ; {
		o.mu.Lock()
		text, changed := o.text.String(), o.changed
		o.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("nothing like %q in\n%s", expr, text)
		}
	}
}

// program is roomd while it runs.
type program struct {
	t              *testing.T
	stdin          *io.PipeWriter
	stdout, stderr *output
	interrupt      context.CancelFunc
	status         chan int
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, stdin := io.Pipe()
	p := &program{t, stdin, newOutput(), newOutput(), cancel, make(chan int, 1)}
	go func() { p.status <- run(ctx, args, in, p.stdout, p.stderr) }()
	t.Cleanup(func() {
		cancel()
		stdin.Close()
	})
	return p
}

// wait waits for the program's end.
func (p *program) wait(status int) {
	p.t.Helper()
	select {
	case got := <-p.status:
		if got != status {
			p.t.Errorf("the status is %d, want %d; stderr:\n%s", got, status, p.stderr)
		}
	case <-time.After(patience):
		p.t.Fatalf("roomd does not end; stderr:\n%s", p.stderr)
	}
}

// reason returns the last line on standard error.
func (p *program) reason() string {
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	return lines[len(lines)-1]
}

func (p *program) address() foyer.Address {
	p.t.Helper()
	return foyer.Address(p.stdout.await(p.t, `^roomd: .* listening on (room://\S+)$`))
}

// player is a player who speaks the plain dialect.
type player struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, to foyer.Address) *player {
	t.Helper()
	conn, err := net.Dial("udp", to.HostPort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &player{t, conn}
}

func (p *player) ask(request, want string) {
	p.t.Helper()
	if _, err := p.conn.Write([]byte(request)); err != nil {
		p.t.Fatal(err)
	}
	p.hear(want)
}

func (p *player) hear(want string) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2000)
	n, err := p.conn.Read(buf)
	if err != nil {
		p.t.Fatal(err)
	}
	if got := string(buf[:n]); got != want {
		p.t.Errorf("heard %q, want %q", got, want)
	}
}

func lookup(t *testing.T, r *registry, name foyer.Name) (foyer.Address, error) {
	t.Helper()
	c, err := client.New(client.Options{Registries: []string{r.address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Lookup(t.Context(), name)
	return a.Address, err
}

func TestServeAndStop(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"--plain=false", "--plain"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			r := startRegistry(t, "127.0.0.1:0")
			p := start(t, "--discovery", r.address, "--state", t.TempDir(), dialect,
				"-n", "Kitchen", "--up", "The Loft", "Great Hall", "A long table.", "lamp", "brass key")
			address := p.address()
			if !strings.HasPrefix(string(address), "room://127.0.0.1:") {
				t.Errorf("registered at %s", address)
			}
			if found, err := lookup(t, r, "Great Hall"); found != address {
				t.Errorf("looked up: %s, %v", found, err)
			}
			ann := dial(t, address)
			ann.ask("join Ann", "Great Hall\n\nA long table.\n\nIn this room, there are:\n  lamp\n  brass key")
			bob := dial(t, address)
			bob.ask("join Bob", "Great Hall\n\nA long table.\n\nIn this room, there are:\n  lamp\n  brass key\n  Ann")
			ann.hear("Bob entered the room.")
			ann.ask("up", "The Loft")
			bob.hear("Ann left the room, heading up.")
			p.interrupt()
			p.wait(0)
			bob.hear("disconnect")
			if _, err := lookup(t, r, "Great Hall"); !errors.Is(err, foyer.ErrUnknownName) {
				t.Errorf("looked up after the end: %v", err)
			}
		})
	}
}

// The registry is told of the exits, in the plain dialect of none, and of those
// that fit if the names are too long.
func TestExits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", foyer.MaxName)
	for _, c := range []struct {
		args    []string
		want    string
		omitted bool
	}{
		{[]string{"-n", "Kitchen, the", "--up", "The: Loft"}, "n:Kitchen, the\nu:The: Loft", false},
		{[]string{"-n", "Kitchen", "--plain"}, "", false},
		{nil, "", false},
		{[]string{"-n", long, "-s", long, "-d", "Cellar"}, "n:" + long + "\nd:Cellar", true},
	} {
		r := startRegistry(t, "127.0.0.1:0")
		p := start(t, append(c.args, "--discovery", r.address, "--state", t.TempDir(), "Great Hall", "A long table.")...)
		p.address()
		if got, err := r.store.Find([]byte("Great Hall")); string(got.Exits) != c.want || err != nil {
			t.Errorf("%q: the exits are %q, %v, want %q", c.args, got.Exits, err, c.want)
		}
		p.interrupt()
		p.wait(0)
		if log := p.stderr.String(); strings.Contains(log, "is not told of all exits") != c.omitted {
			t.Errorf("%q: the log is %s", c.args, log)
		}
	}
}

func TestOperator(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall.", "lamp")
	address := p.address()
	dial(t, address).ask("join Ann", "Hall\n\nA hall.\n\nIn this room, there is:\n  lamp")
	io.WriteString(p.stdin, "\nplayers\n look \ndance\nhelp\n")
	p.stdout.await(t, `^quit     close the room$`)
	want := "roomd: Hall listening on " + string(address) + "\nAnn\nHall\n\nA hall.\n\nIn this room, there are:\n  lamp\n  Ann\nInvalid command, try help\n" + operatorHelp
	if got := p.stdout.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	io.WriteString(p.stdin, "QUIT\n")
	p.wait(0)
}

// TestEndOfInput: a room in the background has no input, and stays.
func TestEndOfInput(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall.")
	p.stdin.Close()
	dial(t, p.address()).ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	p.interrupt()
	p.wait(0)
}

func TestNameTaken(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	state := t.TempDir()
	first := start(t, "--discovery", r.address, "--state", state, "Hall", "A hall.")
	address := first.address()

	second := start(t, "--discovery", r.address, "--state", state, "Hall", "A hall.")
	second.wait(1)
	if got, want := second.reason(), `roomd: another roomd serves "Hall" with the state in `+state; got != want {
		t.Errorf("got %s", got)
	}
	for _, args := range [][]string{{"--state", t.TempDir()}, {"--plain"}} {
		p := start(t, append(args, "--discovery", r.address, "Hall", "A false hall.")...)
		p.wait(1)
		if got := p.reason(); !strings.HasPrefix(got, "roomd: ") || !strings.Contains(got, `"Hall"`) {
			t.Errorf("%v: %s", args, got)
		}
		if strings.Contains(p.stdout.String(), "listening") {
			t.Errorf("%v: it says that it listens", args)
		}
	}
	if found, err := lookup(t, r, "Hall"); found != address {
		t.Errorf("looked up: %s, %v", found, err)
	}
}

// TestReplaced: a room whose owner has registered the name at another address
// tells its players and ends, and leaves the registration alone.
func TestReplaced(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	state := t.TempDir()
	p := start(t, "--discovery", r.address, "--state", state, "--ttl", "5s", "Hall", "A hall.")
	ann := dial(t, p.address())
	ann.ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")

	key, err := client.OpenKey(filepath.Join(state, fileName("Hall")+".key"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Registries: []string{r.address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Register(t.Context(), client.Registration{Name: "Hall", Address: "room://127.0.0.1:1", TTL: time.Minute, Key: key}); err != nil {
		t.Fatal(err)
	}
	ann.hear("disconnect")
	p.wait(1)
	if got := p.reason(); !strings.HasPrefix(got, `roomd: "Hall" belongs to another room now: `) {
		t.Errorf("got %s", got)
	}
	if found, err := lookup(t, r, "Hall"); found != "room://127.0.0.1:1" {
		t.Errorf("looked up: %s, %v", found, err)
	}
}

// TestRegistryGoesAway: the room goes on without a registry, logs that once,
// and registers again with one that does not know it.
func TestRegistryGoesAway(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "--ttl", "5s", "Hall", "A hall.")
	address := p.address()
	r.stop()
	p.stderr.await(t, `level=WARN msg="registry silent" room=Hall error="registry \S+ did not answer`)
	dial(t, address).ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	again := startRegistry(t, r.address)
	p.stderr.await(t, `level=INFO msg="registered anew" room=Hall`)
	if found, err := lookup(t, again, "Hall"); found != address {
		t.Errorf("looked up: %s, %v", found, err)
	}
	p.interrupt()
	p.wait(0)
	if n := strings.Count(p.stderr.String(), "registry silent"); n != 1 {
		t.Errorf("the silence is logged %d times", n)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := start(t, "--discovery", silent.LocalAddr().String(), "--state", t.TempDir(), "Hall", "A hall.")
	p.wait(1)
	if got, want := p.reason(), "roomd: registry "+silent.LocalAddr().String()+" did not answer within 5 seconds; --discovery HOST:PORT asks another"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestStoppedEarly: a room that is waiting for the registry stops quickly.
func TestStoppedEarly(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := start(t, "--discovery", silent.LocalAddr().String(), "--state", t.TempDir(), "Hall", "A hall.")
	if _, _, err := silent.ReadFrom(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.interrupt()
	p.wait(0)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestStoppedBeforeTheStart: a room stopped while it resolves the registry's
// name says nothing about the registry.
func TestStoppedBeforeTheStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is asked
	var stderr strings.Builder
	args := []string{"--discovery", "registry.invalid:7666", "--state", t.TempDir(), "Hall", "A hall."}
	if status := run(ctx, args, strings.NewReader(""), io.Discard, &stderr); status != 0 || stderr.String() != "" {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
}

// TestRefusedDeregistration: if the registry's operator has evicted the room,
// it says so at its end.
func TestRefusedDeregistration(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall.")
	p.address()
	if _, err := r.Evict(t.Context(), "Hall", 0); err != nil {
		t.Fatal(err)
	}
	p.interrupt()
	p.wait(1)
	if got := p.reason(); !strings.HasPrefix(got, `roomd: "Hall" was not deregistered: `) {
		t.Errorf("got %s", got)
	}
}

// TestEvicted: a room that the registry's operator has evicted for a while
// ends, and says until when.
func TestEvicted(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "--ttl", "5s", "Hall", "A hall.")
	p.address()
	e, err := r.Evict(t.Context(), "Hall", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := `roomd: "Hall" cannot be registered: the operator has taken this name off until ` + e.Until.Format(time.RFC3339)
	p.wait(1)
	if got := p.reason(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p = start(t, "--discovery", r.address, "--state", t.TempDir(), "Hall", "A hall.")
	p.wait(1)
	if got := p.reason(); got != want {
		t.Errorf("at the start: got %s, want %s", got, want)
	}
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, "127.0.0.1:0")
	for i, host := range []string{"localhost", "127.0.0.1", "::1", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			if c, err := net.ListenPacket("udp", "[::1]:0"); err != nil && strings.Contains(host, ":") {
				t.Logf("this machine has no IPv6: %v", err)
				return
			} else if err == nil {
				c.Close()
			}
			p := start(t, "--discovery", r.address, "--state", t.TempDir(), "--advertise", host, fmt.Sprint("Hall ", i), "A hall.") // a name of its own: they run side by side
			address := p.address()
			if h, _, _ := net.SplitHostPort(address.HostPort()); h != strings.Trim(host, "[]") {
				t.Errorf("registered at %s", address)
			}
			dial(t, address).ask("dance", "Invalid command")
			p.interrupt()
			p.wait(0)
		})
	}
	// An address that is not this machine's is assumed to be translated (NAT).
	p := start(t, "--discovery", r.address, "--state", t.TempDir(), "--advertise", "203.0.113.9", "Hall", "A hall.")
	if address := p.address(); !strings.HasPrefix(string(address), "room://203.0.113.9:") {
		t.Errorf("registered at %s", address)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	hint := "; see 'roomd --help'\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "roomd: wrong arguments, the usage is: roomd NAME DESCRIPTION [ITEM...]" + hint},
		{[]string{"Hall"}, "roomd: wrong arguments, the usage is: roomd NAME DESCRIPTION [ITEM...]" + hint},
		{[]string{"Ha\all", "A hall."}, `roomd: the room's name "Ha\all": the name has a character that names may not have` + hint},
		{[]string{"", "A hall."}, `roomd: the room's name "": the name is missing` + hint},
		{[]string{"Hall", ""}, "roomd: the description is empty" + hint},
		{[]string{"Hall", "A hall.", "la\nmp"}, `roomd: item "la\nmp": the name has a character that names may not have` + hint},
		{[]string{"-n", "a  b", "Hall", "A hall."}, `roomd: --north "a  b": the name has two spaces in a row` + hint},
		{[]string{"--ttl", "-1s", "Hall", "A hall."}, "roomd: --ttl must not be negative" + hint},
		{[]string{"--advertise", "a b", "Hall", "A hall."}, `roomd: --advertise "a b": the host is no IPv4 address, no IPv6 address in brackets and no DNS name` + hint},
		{[]string{"--advertise", "host:80", "Hall", "A hall."}, `roomd: --advertise "host:80": the host is no IPv4 address, no IPv6 address in brackets and no DNS name` + hint},
		{[]string{"--discovery", "host:70000", "Hall", "A hall."}, ""},
		{[]string{"--sideways", "Hall", "A hall."}, "roomd: unknown flag: --sideways" + hint},
	} {
		var stdout, stderr strings.Builder
		status := run(t.Context(), c.args, strings.NewReader(""), &stdout, &stderr)
		if status != 2 || c.want != "" && stderr.String() != c.want || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%q: status %d, %s%s", c.args, status, &stdout, &stderr)
		}
	}
}

func TestEnvironment(t *testing.T) {
	r := startRegistry(t, "127.0.0.1:0")
	t.Setenv("FOYER_DISCOVERY", r.address)
	t.Setenv("FOYER_EAST", "Garden")
	t.Setenv("FOYER_TTL", "1m")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	p := start(t, "Hall", "A hall.")
	ann := dial(t, p.address())
	ann.ask("join Ann", "Hall\n\nA hall.\n\nThe room is empty.")
	ann.ask("east", "Garden")
	p.stderr.await(t, `msg=registered .*lease=1m0s`)
	p.interrupt()
	p.wait(0)
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_STATE_HOME"), "foyer", fileName("Hall")+".key")); err != nil {
		t.Error(err)
	}
}
