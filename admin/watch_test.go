package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer/discovery"
	"foyer/storage"
	"foyer/storage/storetest"
)

// A follower keeps a copy of what is registered, as a client of the stream does.
type follower struct {
	t        *testing.T
	conn     net.Conn
	in       *bufio.Scanner
	rooms    map[string]string // by name, in JSON as a dump has it
	last     string            // id
	beats    int               // comments
	complete bool              // the copy is one of some time
	synced   bool              // of now, since it connected
}

// follow connects to the registry, with an id to go on from unless it is empty.
func (b *bench) follow(last string) *follower {
	b.t.Helper()
	c, server := net.Pipe()
	b.conns.conns <- server
	f := &follower{t: b.t, conn: c, rooms: map[string]string{}, last: last}
	f.request(last)
	return f
}

func (f *follower) request(last string) {
	f.t.Helper()
	header := ""
	if last != "" {
		header = "Last-Event-ID: " + last + "\r\n"
	}
	if _, err := io.WriteString(f.conn, "GET /v1/watch HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"); err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(f.conn, 16), nil) // reads ahead as little as it can
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("watching: %v, %v", resp, err)
	}
	f.in = bufio.NewScanner(resp.Body)
	f.in.Buffer(nil, 1<<20)
}

// again comes back after a connection has ended.
func (f *follower) again(b *bench) {
	b.t.Helper()
	f.conn.Close()
	c, server := net.Pipe()
	b.conns.conns <- server
	f.conn, f.synced = c, false
	f.request(f.last)
}

// next reads an event, applies it, and returns it as "event what name"; its error is
// that of reading.
func (f *follower) next() (string, error) {
	event, data, id, hasID := "", "", "", false
	for f.in.Scan() {
		field, value, _ := strings.Cut(f.in.Text(), ": ")
		switch field {
		case "event":
			event = value
		case "data":
			data = value
		case "id":
			id, hasID = value, true
		case "":
			if value != "" || strings.HasPrefix(f.in.Text(), ":") {
				f.beats++
				event = "comment"
			} else if event == "comment" {
				return event, nil
			} else {
				return f.apply(event, data, id, hasID), nil
			}
		}
	}
	return "", errors.Join(f.in.Err(), io.ErrUnexpectedEOF)
}

func (f *follower) apply(event, data, id string, hasID bool) string {
	f.t.Helper()
	var c Change
	if err := json.Unmarshal([]byte(data), &c); err != nil {
		f.t.Fatalf("%s %s: %v", event, data, err)
	}
	text := event
	if name := string(c.Name); name != "" {
		text += strings.TrimRight(" "+c.Event, " ") + " " + name
	}
	switch event {
	case "reset":
		f.complete = false
		clear(f.rooms)
	case "room":
		f.rooms[string(c.Name)] = rowText(c.Row)
	case "gone":
		delete(f.rooms, string(c.Name))
	case "synced":
		f.complete, f.synced = true, true
	default:
		f.t.Errorf("event %q", event)
	}
	if hasID {
		f.last = id
	}
	if wants := event == "reset" || event == "synced" || f.complete; hasID != wants {
		f.t.Errorf("%s has an id: %v, %q", text, hasID, id)
	}
	return text
}

// rowText is a row as a dump prints it.
func rowText(r discovery.Row) string {
	r.LeaseRemaining, r.LastHeardAt = nil, time.Time{}
	b, _ := json.Marshal(r)
	return string(b)
}

// expect reads events and compares them.
func (f *follower) expect(want ...string) {
	f.t.Helper()
	for _, w := range want {
		if got, err := f.next(); err != nil || got != w {
			f.t.Errorf("got %q, %v, want %q", got, err, w)
		}
	}
}

// sync reads until the copy is complete.
func (f *follower) sync() {
	f.t.Helper()
	for !f.synced {
		if _, err := f.next(); err != nil {
			f.t.Fatal(err)
		}
	}
}

// compare compares the copy with the store.
func (f *follower) compare(b *bench) {
	f.t.Helper()
	want := map[string]string{}
	for row, err := range discovery.Rows(b.model, "") {
		if err != nil {
			f.t.Fatal(err)
		}
		want[string(row.Name)] = rowText(row)
	}
	for name, row := range f.rooms {
		if want[name] == row {
			delete(want, name)
		} else {
			f.t.Fatalf("%s is %s in the copy, %q in the store", name, row, want[name])
		}
	}
	for name, row := range want {
		f.t.Fatalf("%s is not in the copy, nor %d others: %s", name, len(want)-1, row)
	}
}

// runWatch is run with the interface served on connections in memory.
func runWatch(t *testing.T, fn func(b *bench)) {
	run(t, func(b *bench) {
		b.conns = &pipes{make(chan net.Conn), make(chan struct{})}
		defer Serve(b.conns, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.admin.Handler().ServeHTTP(w, r) }), b.admin.options.Log)()
		fn(b)
	})
}

// importRooms registers rooms of the numbers from first on.
func (b *bench) importRooms(first, n int) {
	b.t.Helper()
	var dump strings.Builder
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&dump, `{"name":"r%d","address":"room://192.0.2.30:%d","registered_at":"2000-01-01T00:00:00Z","ttl_seconds":0,"owner":""}`+"\n", i, 1+i)
	}
	d, err := discovery.ReadDump(strings.NewReader(dump.String()))
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.server.Import(b.t.Context(), d); err != nil {
		b.t.Fatal(err)
	}
}

// Changes come in their order and say what has happened; renewals are none.
func TestWatch(t *testing.T) {
	runWatch(t, func(b *bench) {
		b.register("Foyer", "Hall")
		f := b.follow("")
		f.expect("reset", "room Foyer", "room Hall", "synced")
		b.send("@x= RENEW room://192.0.2.10:1 Foyer")
		b.send("@ttl=60 RENEW room://192.0.2.10:1 Foyer") // not a change: it has no id that says when it was asked
		b.send("@x= REGISTER room://192.0.2.10:3 Attic")
		b.send("@x= DEREGISTER Hall")
		f.expect("room registered Attic", "gone deregistered Hall")
		if _, err := b.server.Evict(b.t.Context(), "Attic", time.Hour); err != nil {
			b.t.Error(err)
		}
		f.expect("gone evicted Attic")
		f.compare(b)
		for { // the lease of Foyer ends
			got, err := f.next()
			if err != nil {
				b.t.Fatal(err)
			}
			if got != "comment" {
				if got != "gone expired Foyer" {
					b.t.Errorf("got %q", got)
				}
				break
			}
		}
		f.compare(b)
		f.conn.Close()
	})
}

// A change comes with the lease that it gave.
func TestWatchTellsLeases(t *testing.T) {
	runWatch(t, func(b *bench) {
		f := b.follow("")
		f.expect("reset", "synced")
		for i := range 100 {
			b.send(fmt.Sprintf("@ttl=30 REGISTER room://192.0.2.10:%d r%d", 1+i, i))
			for f.in.Scan() && !strings.HasPrefix(f.in.Text(), "data: ") {
			}
			if !strings.Contains(f.in.Text(), `"lease_remaining_seconds":3`) || !strings.Contains(f.in.Text(), `"last_heard_at"`) {
				b.t.Fatalf("got %s", f.in.Text())
			}
		}
		f.conn.Close()
	})
}

// When nothing changes a watcher hears something every now and then.
func TestHeartbeats(t *testing.T) {
	runWatch(t, func(b *bench) {
		f := b.follow("")
		f.sync()
		began := time.Now()
		f.expect("comment", "comment", "comment")
		if took := time.Since(began); f.beats != 3 || took != 3*heartbeat {
			b.t.Errorf("%d heartbeats in %v", f.beats, took)
		}
		f.conn.Close()
	})
}

// Whoever comes back with an id gets the changes since then, and only them.
func TestWatchGoesOn(t *testing.T) {
	runWatch(t, func(b *bench) {
		b.register("Foyer", "Hall")
		f := b.follow("")
		f.sync()
		b.send("@x= REGISTER room://192.0.2.10:3 Attic")
		f.expect("room registered Attic")
		f.conn.Close()
		b.send("@x= DEREGISTER Hall")
		b.send("@x= REGISTER room://192.0.2.10:4 Library")
		f.again(b)
		f.expect("gone deregistered Hall", "room registered Library", "synced")
		f.compare(b)
		f.again(b)
		f.expect("synced")
		f.conn.Close()

		// An id works as a parameter, too: a browser cannot set the header.
		ctx, cancel := context.WithCancel(b.t.Context())
		w := httptest.NewRecorder()
		go func() {
			synctest.Wait()
			cancel()
		}()
		b.admin.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v1/watch?last_event_id="+f.last, nil))
		if got := w.Body.String(); got != "event: synced\nid: "+f.last+"\ndata: {}\n\n" {
			b.t.Errorf("with a parameter: %q", got)
		}
	})
}

// An id of another process, of a position that is not yet there, or that is none
// makes the watcher begin anew.
func TestWatchBeginsAnew(t *testing.T) {
	runWatch(t, func(b *bench) {
		b.register("Foyer")
		f := b.follow("")
		f.sync()
		f.conn.Close()
		epoch, _, _ := strings.Cut(f.last, "-")
		for _, id := range []string{"x", "-", epoch, epoch + "-", epoch + "-x", epoch + "--1", epoch + "-0", epoch + "-999", epoch + "-99999999999999999999", "ABCDEFGH-1", strings.ToLower(f.last)} {
			g := b.follow(id)
			g.expect("reset", "room Foyer", "synced")
			g.conn.Close()
		}
		b.restart()
		f.again(b)
		f.expect("reset", "room Foyer", "synced")
		f.compare(b)
		f.conn.Close()
	})
}

// Until a copy is complete there is no id with which its watcher could leave out the
// rest; and whoever reads as fast as things change does not fall behind meanwhile.
func TestChangesWhileWatchBegins(t *testing.T) {
	runWatch(t, func(b *bench) {
		const rooms = 20 * watchBatch
		b.importRooms(0, rooms)
		f := b.follow("")
		changes := 0
		for i := 0; !f.synced; i++ {
			if _, err := f.next(); err != nil {
				b.t.Fatalf("after %d events and %d changes: %v", i, changes, err)
			}
			if i%watchBatch == 0 && changes <= discovery.FeedLength {
				const part = watchBatch * 3 / 4
				b.importRooms(rooms+changes, part)
				changes += part
			}
		}
		if changes <= discovery.FeedLength {
			b.t.Errorf("there were %d changes only", changes)
		}
		f.again(b) // for what has changed since the copy was complete
		f.sync()
		f.compare(b)
		f.conn.Close()
	})
}

// A watcher that falls behind is cut off, comes back, and is told to forget all.
func TestSlowWatcher(t *testing.T) {
	runWatch(t, func(b *bench) {
		var log bytes.Buffer
		b.admin.options.Log = slog.New(slog.NewTextHandler(&log, nil))
		f := b.follow("")
		f.sync()
		b.importRooms(0, 10)
		f.expect("room registered r0", "room registered r1")
		b.importRooms(10, discovery.FeedLength+2000)
		read := 0
		for {
			if _, err := f.next(); err != nil {
				break
			}
			read++
		}
		if read >= discovery.FeedLength {
			b.t.Errorf("it was not cut off: it has read %d changes", read)
		}
		f.again(b)
		f.expect("reset")
		f.sync()
		f.compare(b)

		// One that reads nothing is cut off after a while, and not before.
		began := time.Now()
		b.importRooms(50_000, 1000)
		for b.server.Watches() > 0 {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < stallTime-time.Second || took > stallTime+2*time.Second {
			b.t.Errorf("it was cut off after %v", took)
		}
		f.conn.Close()
		synctest.Wait()
		if n := strings.Count(log.String(), "a watcher was too slow"); n != 2 {
			b.t.Errorf("the log says so %d times: %s", n, log.String())
		}
	})
}

// Nobody who watches keeps a registry from ending, not even one who does not read.
func TestWatchEndsWithTheServer(t *testing.T) {
	runWatch(t, func(b *bench) {
		idle, stuck := b.follow(""), b.follow("")
		idle.sync()
		stuck.sync()
		b.importRooms(0, 1000)
		synctest.Wait()
		began := time.Now()
		go func() { _, _ = io.Copy(io.Discard, idle.conn) }()
		b.stop()
		synctest.Wait()
		if n := b.server.Watches(); n != 0 || time.Since(began) > 0 {
			b.t.Errorf("%d watch still, after %v", n, time.Since(began))
		}
		b.start()
		idle.conn.Close()
		stuck.conn.Close()
	})
}

// Over the network a host may watch so many times, and all together so many; the Unix
// socket is not bound by that. Whoever is refused suffers alone, and a place that is
// left can be had again.
func TestWatchLimits(t *testing.T) {
	run(t, func(b *bench) {
		var leave []context.CancelFunc
		watch := func(peer string) int {
			ctx, cancel := context.WithCancel(b.t.Context())
			leave = append(leave, cancel)
			r := httptest.NewRequestWithContext(ctx, "GET", "/v1/watch", nil)
			r.RemoteAddr = peer
			w := httptest.NewRecorder()
			before := b.server.Watches()
			go b.admin.Handler().ServeHTTP(w, r)
			synctest.Wait()
			if b.server.Watches() > before {
				return 200
			}
			return w.Code
		}
		for host := range maxWatches / maxWatchesPerHost {
			for i := range maxWatchesPerHost {
				if got := watch(fmt.Sprintf("192.0.2.%d:%d", 100+host, 1+i)); got != 200 {
					b.t.Fatalf("watcher %d of host %d: %d", i, host, got)
				}
			}
			if got := watch(fmt.Sprintf("192.0.2.%d:999", 100+host)); got != 429 {
				b.t.Errorf("one too many of host %d: %d", host, got)
			}
		}
		if got := watch("192.0.2.200:1"); got != 429 {
			b.t.Errorf("one too many in all: %d", got)
		}
		for range maxWatches {
			if got := watch("@"); got != 200 {
				b.t.Fatalf("on the Unix socket: %d", got)
			}
		}
		leave[0]()
		synctest.Wait()
		if got := watch("192.0.2.200:1"); got != 200 {
			b.t.Errorf("in the place of one that has left: %d", got)
		}
		for _, cancel := range leave {
			cancel()
		}
		synctest.Wait()
		if n := b.server.Watches(); n != 0 || len(b.admin.watches) != 0 || len(b.admin.hosts.count) != 0 {
			b.t.Errorf("%d watch still, %d places and %d hosts are taken", n, len(b.admin.watches), len(b.admin.hosts.count))
		}
	})
}

// HEAD is answered, and at once.
func TestWatchHead(t *testing.T) {
	run(t, func(b *bench) {
		w := httptest.NewRecorder()
		b.admin.Handler().ServeHTTP(w, httptest.NewRequest("HEAD", "/v1/watch", nil))
		if w.Code != 200 || w.Body.Len() > 0 {
			b.t.Errorf("got %d, %q", w.Code, w.Body)
		}
	})
}

// What has become of names in a transaction that was in doubt reaches watchers.
func TestWatchAfterDoubt(t *testing.T) {
	for fault, want := range map[storetest.Fault][]string{
		storetest.Kept: {"gone settled Foyer", "room settled Hall"},
		storetest.Lost: {"room settled Foyer", "gone settled Hall"},
	} {
		runWatch(t, func(b *bench) {
			b.register("Foyer")
			f := b.follow("")
			f.sync()
			b.model.Fail(fault)
			if _, err := b.host.WriteToUDPAddrPort([]byte("DEREGISTER Foyer\nREGISTER room://192.0.2.10:2 Hall"), registryAddr); err != nil {
				b.t.Fatal(err)
			}
			f.expect(want...)
			f.compare(b)

			b.model.Fail(fault)
			if _, err := b.server.Evict(b.t.Context(), "Foyer", time.Hour); !errors.Is(err, storage.ErrUncertain) {
				b.t.Errorf("%v: %v", fault, err)
			}
			f.expect(map[storetest.Fault]string{storetest.Kept: "gone settled Foyer", storetest.Lost: "room settled Foyer"}[fault])
			f.compare(b)
			f.conn.Close()
		})
	}
}
