package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"foyer"
	"foyer/admin"
	"foyer/client"
	"foyer/internal/namespace"
	"foyer/internal/seam"
	"foyer/internal/testenv"
	"foyer/internal/udp"
)

// A host is a machine with its own network.
type host struct {
	*namespace.Namespace
	t *testing.T
}

// launch runs one of the programs there until the end of the test.
func (h host) launch(name string, args ...string) *program {
	h.t.Helper()
	dir, err := bin()
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Env = []string{"FOYER_DISCOVERY=10.66.0.1:7666"}
	return h.start(cmd)
}

// start is launch for a command with an environment of its own.
func (h host) start(cmd *exec.Cmd) *program {
	h.t.Helper()
	cmd.Dir = h.t.TempDir()
	cmd.Env = append(cmd.Env, "HOME="+cmd.Dir)
	p, err := launch(cmd, func() error { return h.Start(cmd) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// client returns a client on that machine.
func (h host) client(registries ...string) *client.Client {
	h.t.Helper()
	o := client.Options{Registries: registries}
	seam.Client(&o, seam.Seam{Listen: func() (udp.PacketConn, error) { return h.ListenUDP() }})
	c, err := client.New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// hosts returns two machines with a link between them. The first has several
// addresses.
func hosts(t *testing.T, f namespace.Faults, seed uint64) (a, b host) {
	t.Helper()
	a, b = host{namespace.NewNetwork(t), t}, host{namespace.NewNetwork(t), t}
	namespace.Connect(t,
		namespace.Interface{Namespace: a.Namespace, Name: "foyer0", Addresses: []string{"10.66.0.1/24", "10.66.0.7/24", "fd66::1/64", "fd66::7/64"}},
		namespace.Interface{Namespace: b.Namespace, Name: "foyer1", Addresses: []string{"10.66.0.2/24", "fd66::2/64"}},
		f, seed)
	return a, b
}

// TestWildcard runs a registry that listens on all addresses of a machine with
// several. Its replies come from the address that was asked, or the client
// would not accept them; so do those of a room that advertises one of them.
func TestWildcard(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	a.launch("registry", "serve", "--listen", ":7666", "--http", "off").await(t, `^registry: listening on .*:7666$`)
	a.launch("roomd", "--advertise", "10.66.0.7", "Hall", "It echoes.").await(t, `^roomd: Hall listening on room://10\.66\.0\.7:\d+$`)
	a.launch("roomd", "--discovery", "[fd66::1]:7666", "--advertise", "fd66::7", "Attic", "It is dark.").await(t, `^roomd: Attic listening on room://\[fd66::7\]:\d+$`)
	for _, address := range []string{"10.66.0.1", "10.66.0.7", "fd66::1", "fd66::7"} {
		c := b.client(net.JoinHostPort(address, "7666"))
		if _, err := c.Lookup(t.Context(), "Hall"); err != nil {
			t.Errorf("asked at %s: %v", address, err)
		}
		// Changes take another path to their replies.
		name := foyer.Name("Room of " + strings.ReplaceAll(address, ":", "-"))
		r := client.Registration{Name: name, Address: "room://10.66.0.2:1", TTL: time.Minute}
		if strings.Contains(address, ":") {
			r.Address = "room://[fd66::2]:1"
		}
		if _, err := c.Register(t.Context(), r); err != nil {
			t.Errorf("asked at %s: %v", address, err)
		}
		if err := c.Deregister(t.Context(), name, nil); err != nil {
			t.Errorf("asked at %s: %v", address, err)
		}
	}
	for _, name := range []string{"Hall", "Attic"} {
		p := b.launch("playerctl", "Alice", name)
		p.await(t, "^"+name+"$")
		p.stdin.Close()
		p.ends(t, 0)
	}
}

// TestForeignAddresses has a host register the address of another one. The
// error says what to do, unless the operator allows it.
func TestForeignAddresses(t *testing.T) {
	t.Parallel()
	a, b := hosts(t, namespace.Faults{}, 0)
	registry := a.launch("registry", "serve", "--listen", ":7666", "--http", "off")
	registry.await(t, `^registry: listening on .*:7666$`)
	own := b.launch("roomd", "Hall", "It echoes.")
	own.await(t, `^roomd: Hall listening on room://10\.66\.0\.2:\d+$`)
	foreign := b.launch("roomd", "--advertise", "10.66.0.9", "Attic", "It is dark.")
	foreign.ends(t, 1)
	if got, want := foreign.written(), regexp.MustCompile(`roomd: "Attic" cannot be registered at room://10\.66\.0\.9:\d+, use --advertise: the address is not the one that the request comes from: .*\n`); !want.MatchString(got) {
		t.Errorf("got %q", got)
	}
	b.launch("roomd", "--advertise", "b.example", "Attic", "It is dark.").await(t, `^roomd: Attic listening on room://b\.example:\d+$`)
	a.launch("roomd", "--discovery", "127.0.0.1:7666", "--advertise", "10.66.0.9", "Inn", "It is warm.").await(t, `^roomd: Inn listening on room://10\.66\.0\.9:\d+$`)

	_ = registry.cmd.Process.Signal(syscall.SIGTERM)
	registry.ends(t, 0)
	a.launch("registry", "serve", "--listen", ":7666", "--http", "off", "--addresses", "any").await(t, `^registry: listening on .*:7666$`)
	b.launch("roomd", "--advertise", "10.66.0.9", "Cellar", "It is dark.").await(t, `^roomd: Cellar listening on room://10\.66\.0\.9:\d+$`)
}

// lossy is the network of the promise: a fifth of all packets is lost each way,
// a tenth arrives twice, and they overtake each other.
var lossy = namespace.Faults{Loss: 0.2, Duplicate: 0.1, Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond}

// TestLossyNetwork makes 10,000 requests to a registry on another machine,
// while players chat in a room there, over a lossy network. 99.9% of the
// requests succeed within their five seconds, none takes effect twice, and
// nothing said is lost, doubled or out of order.
func TestLossyNetwork(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	requests := 10_000
	if s := os.Getenv("FOYER_REQUESTS"); s != "" { // make soak
		var err error
		if requests, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	a, b := hosts(t, lossy, seed)
	store := filepath.Join(t.TempDir(), "rooms.db")
	registry := a.launch("registry", "serve", "--listen", "10.66.0.1:7666", "--http", "off", "--store", store)
	registry.await(t, `^registry: listening on `)

	var wg sync.WaitGroup
	l := &lossyLoad{names: make(chan int)}
	for range 8 {
		c := b.client("10.66.0.1:7666")
		for range 25 {
			wg.Go(func() { l.work(t.Context(), t, c) })
		}
	}
	wg.Go(func() {
		defer close(l.names)
		for i := range requests / lossySteps {
			l.names <- i
		}
	})
	if !chat(t, a, b, "Hall") && !chat(t, a, b, "Attic") {
		t.Error("the players have met with silence twice")
	}
	wg.Wait()

	total := requests / lossySteps * lossySteps
	t.Logf("%d requests, %d without an answer", total, len(l.unanswered))
	if len(l.unanswered) > total/1000 {
		t.Errorf("%d of %d requests had no answer", len(l.unanswered), total)
	}
	l.checkHistories(t, store, requests/lossySteps)
	_ = registry.cmd.Process.Signal(syscall.SIGTERM)
	registry.ends(t, 0)
}

// A lossyLoad is a load of short lives: a room is registered, looked up,
// conflicts with another one, is deregistered, and looked up again.
type lossyLoad struct {
	names chan int

	mu         sync.Mutex
	unanswered []string
	uncertain  map[int]bool // names with an unanswered request
}

// lossySteps is how many requests a life takes.
const lossySteps = 5

func lossyName(i int) foyer.Name { return foyer.Name(fmt.Sprintf("Room %d", i)) }

func (l *lossyLoad) work(ctx context.Context, t *testing.T, c *client.Client) {
	for i := range l.names {
		r := client.Registration{Name: lossyName(i), Address: foyer.Address(fmt.Sprintf("room://10.66.0.2:%d", i+1))}
		other := client.Registration{Name: r.Name, Address: foyer.Address(fmt.Sprintf("room://other.example:%d", i+1))}
		for step, s := range [lossySteps]struct {
			do   func() error
			want error
		}{
			{func() error { _, err := c.Register(ctx, r); return err }, nil},
			{func() error { return l.found(ctx, c, r) }, nil},
			{func() error { _, err := c.Register(ctx, other); return err }, foyer.ErrNameTaken},
			{func() error { return c.Deregister(ctx, r.Name, nil) }, nil},
			{func() error { return l.found(ctx, c, r) }, foyer.ErrUnknownName},
		} {
			err := s.do()
			if errors.Is(err, client.ErrNoAnswer) {
				l.mu.Lock()
				l.unanswered = append(l.unanswered, fmt.Sprintf("%s, step %d: %v", r.Name, step, err))
				if l.uncertain == nil {
					l.uncertain = map[int]bool{}
				}
				l.uncertain[i] = true
				l.mu.Unlock()
				break
			}
			if !errors.Is(err, s.want) {
				t.Errorf("%s, step %d: %v, want %v", r.Name, step, err, s.want)
			}
		}
	}
}

func (l *lossyLoad) found(ctx context.Context, c *client.Client, r client.Registration) error {
	a, err := c.Lookup(ctx, r.Name)
	if err == nil && a.Address != r.Address {
		err = fmt.Errorf("%s is at %s, want %s", r.Name, a.Address, r.Address)
	}
	return err
}

// checkHistories asks the registry what happened to each name: each was
// registered once and deregistered once.
func (l *lossyLoad) checkHistories(t *testing.T, store string, names int) {
	socket := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", store+".sock")
	}}}
	defer socket.CloseIdleConnections()
	for i := range names {
		resp, err := socket.Get("http://registry/v1/rooms/" + url.PathEscape(string(lossyName(i))) + "/events")
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		var all admin.Events
		_ = json.NewDecoder(resp.Body).Decode(&all)
		resp.Body.Close()
		for _, e := range all.Events {
			count[e.Event]++
		}
		registered, deregistered := count["registered"], count["deregistered"]
		switch {
		case len(count) > 2, registered > 1, deregistered > 1:
			t.Errorf("%s: more happened than was asked for: %v", lossyName(i), count)
		case !l.uncertain[i] && (registered != 1 || deregistered != 1):
			t.Errorf("%s: less happened than was acknowledged: %v", lossyName(i), count)
		}
	}
}

// chat has two players on one machine talk in a new room on the other. It
// returns false if one of them had no answer within five seconds, which may
// happen to one request in a thousand.
func chat(t *testing.T, a, b host, name string) (answered bool) {
	c := &attempt{T: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.chat(a, b, name)
	}()
	<-done
	for _, p := range c.programs {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return !c.silence
}

// An attempt is a part of a test that may be inconclusive.
type attempt struct {
	*testing.T
	programs []*program
	silence  bool // because of silence
}

func (c *attempt) launch(h host, name string, args ...string) *program {
	p := h.launch(name, args...)
	c.programs = append(c.programs, p)
	return p
}

func (c *attempt) Errorf(format string, args ...any) {
	c.Helper()
	for _, p := range c.programs {
		c.silence = c.silence || strings.Contains(p.written(), "did not answer within 5 seconds")
	}
	if c.silence {
		c.Logf("given up: "+format, args...)
		runtime.Goexit()
	}
	c.T.Errorf(format, args...)
}

func (c *attempt) Fatalf(format string, args ...any) {
	c.Helper()
	c.Errorf(format, args...)
	runtime.Goexit()
}

func (c *attempt) chat(a, b host, name string) {
	const lines = 15
	room := c.launch(a, "roomd", name, "It echoes.", "lamp")
	room.await(c, "^roomd: "+name+" listening on ")
	players := map[string]*program{}
	for _, player := range []string{"Alice", "Bob"} {
		players[player] = c.launch(b, "playerctl", player, name)
		players[player].await(c, `^The room is empty\.$|^In this room, there (is|are):$`)
	}
	players["Alice"].await(c, `^Bob entered the room\.$`)
	for name, p := range players {
		var text bytes.Buffer
		text.WriteString("take lamp\n")
		for i := range lines {
			fmt.Fprintf(&text, "say %s %d\n", name, i)
		}
		if _, err := text.WriteTo(p.stdin); err != nil {
			c.Fatalf("typing: %v", err)
		}
	}
	for name, other := range map[string]string{"Alice": "Bob", "Bob": "Alice"} {
		own, others := fmt.Sprintf(`You said "%s %d"\.`, name, lines-1), fmt.Sprintf(`%s said "%s %d"\.`, other, other, lines-1)
		players[name].await(c, fmt.Sprintf(`(?s)%s.*%s|%s.*%s`, own, others, others, own)) // in either order
	}
	taken := 0
	for name, other := range map[string]string{"Alice": "Bob", "Bob": "Alice"} {
		text := players[name].written()
		taken += strings.Count(text, "lamp taken")
		for about, expr := range map[string]string{
			other: fmt.Sprintf(`%s said "%s (\d+)"\.`, other, other),
			name:  fmt.Sprintf(`You said "%s (\d+)"\.`, name),
		} {
			heard := regexp.MustCompile(expr).FindAllStringSubmatch(text, -1)
			for i, m := range heard {
				if m[1] != strconv.Itoa(i) {
					c.Errorf("%s heard of %s, as number %d, %s", name, about, i, m[0])
				}
			}
			if len(heard) != lines {
				c.Errorf("%s heard %d lines of %s, want %d:\n%s", name, len(heard), about, lines, text)
			}
		}
	}
	if taken != 1 {
		c.Errorf("the lamp was taken %d times", taken)
	}
	for _, p := range players {
		p.stdin.Close()
		p.ends(c, 0)
	}
	_ = room.cmd.Process.Signal(syscall.SIGTERM)
	room.ends(c, 0)
}
