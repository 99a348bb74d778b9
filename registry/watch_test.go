package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/admin"
	"foyer/discovery"
	"foyer/internal/testenv"
	"foyer/wire"
)

// A watching is a run of `registry watch`.
type watching struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	stderr chan string
}

func watch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{t, registryCommand(append([]string{"watch"}, args...)...), make(chan string, 1<<18), make(chan string, 100)}
	for lines, open := range map[chan string]func() (io.ReadCloser, error){w.lines: w.cmd.StdoutPipe, w.stderr: w.cmd.StderrPipe} {
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(lines)
			for in := bufio.NewScanner(r); in.Scan(); {
				lines <- in.Text()
			}
		}()
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	return w
}

// expect reads lines of one of the two streams that hold the parts wanted.
func (w *watching) expect(lines <-chan string, want ...string) {
	w.t.Helper()
	for _, part := range want {
		select {
		case line := <-lines:
			if !strings.Contains(line, part) {
				w.t.Errorf("got %q, want %q", line, part)
			}
		case <-time.After(patience):
			w.t.Fatalf("nothing comes where %q should", part)
		}
	}
}

// stop ends it, and expects no more lines.
func (w *watching) stop(signal os.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(signal); err != nil {
		w.t.Error(err)
	}
	for _, lines := range []chan string{w.lines, w.stderr} {
		for line := range lines {
			w.t.Errorf("unexpected %q", line)
		}
	}
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("after %v: %v", signal, err)
	}
}

// registry watch prints what happens, also across a restart of the registry, and says
// what it may have missed.
func TestWatch(t *testing.T) {
	store := filepath.Join(t.TempDir(), "rooms.db")
	fails(t, 1, "no registry is running on "+store, "watch", "--store", store)
	fails(t, 2, "--format", "watch", "--store", store, "--format", "csv")
	p := serveProcess(t, store, "127.0.0.1:0")
	addr := p.addr
	register := func(p *process, name string, port int) {
		t.Helper()
		if got := request(t, p, fmt.Sprintf(" REGISTER room://127.0.0.1:%d %s", port, name)); got != "OK" {
			t.Fatal(got)
		}
	}
	register(p, "Hall", 1)
	register(p, "Attic", 2)
	all := watch(t, "--store", store, "--all", "--format", "json", "Hall")
	all.expect(all.lines, `{"event":"reset"}`, `{"name":"Hall","address":"room://127.0.0.1:1",`, `{"event":"synced"}`)
	brief := watch(t, "--store", store)
	until(t, func() bool { return statusOf(t, store).Watchers == 2 })

	register(p, "Hall two", 3)
	register(p, "Cellar", 4)
	all.expect(all.lines, `"event":"registered","time":"2`)
	brief.expect(brief.lines, "Z  registered    Hall two                  room://127.0.0.1:3", "Z  registered    Cellar  ")
	if got := request(t, p, " DEREGISTER Hall two"); got != "OK" {
		t.Error(got)
	}
	all.expect(all.lines, `{"name":"Hall two","address":"room://127.0.0.1:3","event":"deregistered","time":"2`)
	brief.expect(brief.lines, "Z  deregistered  Hall two                  room://127.0.0.1:3")

	p.kill()
	for _, w := range []*watching{all, brief} {
		w.expect(w.stderr, "registry: no registry is running on this store; waiting for it")
	}
	p = serveProcess(t, store, addr)
	for _, w := range []*watching{all, brief} {
		w.expect(w.stderr, "may be missing: it was restarted")
	}
	all.expect(all.lines, `{"event":"reset"}`, `"event":"present","time":"2`, `{"event":"synced"}`)
	if _, stderr, status := output("evict", "--store", store, "Hall"); status != 0 {
		t.Error(stderr)
	}
	all.expect(all.lines, `"event":"evicted"`)
	brief.expect(brief.lines, "Z  evicted       Hall  ")
	all.stop(os.Interrupt)
	brief.stop(os.Interrupt)
	until(t, func() bool { return statusOf(t, store).Watchers == 0 })
	p.stop(t)
}

// until waits for a condition.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.After(2 * patience); !holds(); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("what should happen does not")
		}
	}
}

func statusOf(t *testing.T, store string) admin.Status {
	t.Helper()
	s, err := get[admin.Status](t.Context(), newAdminClient(store+".sock"), "/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rowsOfEvents returns rooms, of which there are the data of an event, as a dump prints
// them.
func rowsOfEvents(t *testing.T, rooms map[string]string) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for name, data := range rooms {
		var r discovery.Row
		if err := json.Unmarshal([]byte(data), &r); err != nil {
			t.Errorf("%s: %v", data, err)
		}
		r.LeaseRemaining, r.LastHeardAt = nil, time.Time{}
		text, err := json.Marshal(r)
		if err != nil {
			t.Error(err)
		}
		rows[name] = string(text)
	}
	return rows
}

// fieldOf returns a field of an object whose texts need no escapes: there are too many
// to decode them all.
func fieldOf(data, name string) string {
	_, rest, _ := strings.Cut(data, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// A mirror keeps a copy of the rooms of a registry from its stream of changes.
type mirror struct {
	client *adminClient
	rooms  map[string]string // data by name
	last   string
	resets int
	opened int // connections
	final  bool
}

// lastRoom is registered when all is done.
const lastRoom = "~ the last"

// read connects and reads until more returns false or the stream ends, or lastRoom
// comes. more is told when an event is about to be read.
func (m *mirror) read(ctx context.Context, more func() bool) error {
	m.opened++
	body, err := m.client.do(ctx, http.MethodGet, "/v1/watch", url.Values{"last_event_id": {m.last}})
	if err != nil {
		return err
	}
	defer body.Close()
	in := bufio.NewScanner(body)
	in.Buffer(nil, 1<<20)
	id, event := m.last, ""
	for more() && in.Scan() {
		field, value, _ := strings.Cut(in.Text(), ": ")
		switch field {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			m.apply(event, value)
		case "":
			m.last = id
			if m.final {
				return nil
			}
		}
	}
	return nil
}

func (m *mirror) apply(event, data string) {
	switch name := fieldOf(data, "name"); event {
	case "reset":
		m.resets++
		clear(m.rooms)
	case "room":
		m.rooms[name] = data
		m.final = name == lastRoom
	case "gone":
		delete(m.rooms, name)
	}
}

// So many churns have so many rooms each.
const (
	churns       = 64
	roomsOfChurn = 25
)

// A churn registers rooms of its own and ends them.
type churn struct {
	conn  net.Conn
	rand  *rand.Rand
	key   ed25519.PrivateKey
	name  string
	ports int
	rooms map[string]string // address by name, as far as known
}

// round sends some requests in a datagram until all are answered, and returns how many
// have changed something.
func (c *churn) round() (changes int, err error) {
	waiting := map[string]bool{} // ids
	var lines [][]byte
	for range 4 {
		id := newID()
		waiting["@id="+id] = true
		name := fmt.Sprintf("%s %d", c.name, c.rand.IntN(roomsOfChurn))
		address, known := c.rooms[name]
		switch kind := c.rand.IntN(10); {
		case known && kind < 5:
			lines = append(lines, c.line(id, "", "DEREGISTER "+name, strings.HasSuffix(name, "0")))
			delete(c.rooms, name)
		case known && kind < 6:
			lines = append(lines, c.line(id, fmt.Sprintf(";ttl=%d", 5+c.rand.IntN(3)), "RENEW "+address+" "+name, strings.HasSuffix(name, "0")))
		default:
			c.ports = c.ports%60_000 + 1
			address = fmt.Sprintf("room://%s.example:%d", c.name, c.ports)
			tags := ""
			if kind < 8 {
				tags = ";ttl=5"
			}
			lines = append(lines, c.line(id, tags, "REGISTER "+address+" "+name, strings.HasSuffix(name, "0")))
			c.rooms[name] = address
		}
	}
	datagram := bytes.Join(lines, []byte("\n"))
	buf := make([]byte, 4096)
	for deadline := time.Now().Add(time.Minute); len(waiting) > 0; {
		if time.Now().After(deadline) {
			return changes, fmt.Errorf("no answer to %q", datagram)
		}
		_, _ = c.conn.Write(datagram)
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
		for len(waiting) > 0 {
			n, err := c.conn.Read(buf)
			if err != nil {
				break
			}
			for reply := range strings.SplitSeq(string(buf[:n]), "\n") {
				tags, text, _ := strings.Cut(reply, " ")
				id, _, _ := strings.Cut(tags, ";")
				if waiting[id] && strings.HasPrefix(text, "OK") {
					changes++
				}
				delete(waiting, id)
			}
		}
	}
	return changes, nil
}

func (c *churn) line(id, tags, plain string, signed bool) []byte {
	if !signed {
		return []byte("@id=" + id + tags + " " + plain)
	}
	if strings.HasPrefix(plain, "REGISTER") {
		tags += ";key=" + foyer.Key(c.key.Public().(ed25519.PublicKey)).String()
	}
	return wire.Sign([]byte("@id="+id+tags+" "+plain), c.key)
}

// Watchers end with exactly what a dump has: one that reads slowly, falls behind and is
// told to begin anew, one that is cut off again and again and goes on where it was, and
// `registry watch`. Rooms register, take their names over, leave, expire and are
// evicted meanwhile.
func TestWatchersHaveExactCopies(t *testing.T) {
	t.Parallel()
	const wanted = 100_000
	seed := testenv.Seed(t)
	store := filepath.Join(t.TempDir(), "rooms.db")
	p := serveProcess(t, store, "127.0.0.1:0", "--log-level", "error")

	var changes, finished atomic.Int64
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for i := range churns {
		c := &churn{
			conn: dial(t, p.addr), rand: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprintf("w%d", i), rooms: map[string]string{},
			key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(1 + i)}, ed25519.SeedSize)),
		}
		writers.Go(func() {
			for changes.Load() < wanted {
				n, err := c.round()
				if err != nil {
					t.Error(err)
					return
				}
				changes.Add(int64(n))
			}
		})
	}
	writers.Go(func() {
		random := rand.New(rand.NewPCG(seed, 1000))
		client := newAdminClient(store + ".sock")
		for changes.Load() < wanted && t.Context().Err() == nil {
			name := foyer.Name(fmt.Sprintf("w%d %d", random.IntN(churns), random.IntN(roomsOfChurn)))
			if body, err := client.do(t.Context(), http.MethodDelete, roomPath("rooms", name), nil); err == nil {
				body.Close()
				changes.Add(1)
			}
		}
	})
	go func() {
		writers.Wait()
		close(done)
	}()

	slow := &mirror{client: newAdminClientOf(store+".sock", time.Minute), rooms: map[string]string{}}
	readers.Go(func() {
		for !slow.final && t.Context().Err() == nil {
			events := 0
			err := slow.read(t.Context(), func() bool {
				if events++; events%5000 == 0 { // pauses until it is behind
					for target := changes.Load() + discovery.FeedLength*3/2; changes.Load() < target; {
						select {
						case <-done:
							return true
						case <-time.After(10 * time.Millisecond):
						}
					}
				}
				return true
			})
			if err != nil {
				t.Errorf("the slow one: %v", err)
				return
			}
		}
		finished.Add(1)
	})
	cut := &mirror{client: newAdminClient(store + ".sock"), rooms: map[string]string{}}
	readers.Go(func() {
		random := rand.New(rand.NewPCG(seed, 1001))
		for !cut.final && t.Context().Err() == nil {
			lines := 20_000 + random.IntN(20_000) // so that it gets beyond the beginning
			if cut.last != "" {
				lines = random.IntN(5000)
			}
			if err := cut.read(t.Context(), func() bool { lines--; return lines > 0 }); err != nil {
				t.Errorf("the one that is cut off: %v", err)
				return
			}
		}
		finished.Add(1)
	})
	tool := watch(t, "--store", store, "--all", "--format", "json")
	printed := map[string]string{}
	readers.Go(func() {
		for line := range tool.lines {
			name := fieldOf(line, "name")
			switch fieldOf(line, "event") {
			case "reset":
				clear(printed)
			case "synced":
			case "expired", "deregistered", "evicted":
				delete(printed, name)
			default:
				printed[name] = line
			}
			if name == lastRoom {
				break
			}
		}
		finished.Add(1)
	})

	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%d changes after five minutes", changes.Load())
	}
	until(t, func() bool { return statusOf(t, store).Leases == 0 }) // nothing ends any more
	if got := request(t, p, " REGISTER room://last.example:1 "+lastRoom); got != "OK" {
		t.Fatal(got)
	}
	until(t, func() bool { return finished.Load() == 3 })
	readers.Wait()

	out, stderr, status := output("dump", "--store", store, "--format", "json")
	if status != 0 {
		t.Fatalf("dump: %s", stderr)
	}
	dump := map[string]string{}
	for line := range strings.Lines(out) {
		var r discovery.Row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		dump[string(r.Name)] = strings.TrimSuffix(line, "\n")
	}
	t.Logf("%d changes; the slow watcher was reset %d times, the other has connected %d times and was reset %d times; %d rooms at the end",
		changes.Load(), slow.resets, cut.opened, cut.resets, len(dump))
	for who, rooms := range map[string]map[string]string{"the slow one": slow.rooms, "the one that is cut off": cut.rooms, "registry watch": printed} {
		if !maps.Equal(rowsOfEvents(t, rooms), dump) {
			t.Errorf("%s has %d rooms, the dump %d: not the same", who, len(rooms), len(dump))
		}
	}
	if slow.resets < 2 || cut.opened < 20 {
		t.Error("too little was tried")
	}
	tool.stop(os.Interrupt)
	p.stop(t)
}
