package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"foyer"
	"foyer/discovery"
)

const (
	// maxWatches and maxWatchesPerHost bound those who watch over the network, to half
	// of the connections that there may be: they keep theirs. Each takes some 100 KB.
	maxWatches        = MaxConns / 2
	maxWatchesPerHost = MaxConnsPerHost / 2

	// heartbeat is how often a watcher hears something when nothing happens.
	heartbeat = 15 * time.Second

	// watchBatch is how many changes, or rooms, are written at a time.
	watchBatch = 256
)

// Settled is the event of a change of which only the result is known, because its
// transaction was in doubt.
const Settled = "settled"

// Change is the data of an event of type "room": a registration, and what has made it
// so, which is empty when the registration was there already.
type Change struct {
	discovery.Row
	Event string    `json:"event,omitempty"` // registered, replaced, extended or Settled
	Time  time.Time `json:"time,omitzero"`   // of the event: RFC 3339, UTC
}

// Gone is the data of an event of type "gone": the name is not registered any more.
type Gone struct {
	Name    foyer.Name    `json:"name"`
	Address foyer.Address `json:"address,omitempty"` // that it had; empty if that is not known
	Event   string        `json:"event"`             // expired, deregistered, evicted or Settled
	Time    time.Time     `json:"time"`              // RFC 3339, UTC
}

// newEpoch returns what tells the changes of this process from those of others.
func newEpoch() string { return rand.Text()[:8] }

// A stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	admin   *Admin
	watch   *discovery.Watch
	changes [watchBatch]discovery.Change
}

// send writes an event, with what comes before its data.
func (s *stream) send(event, id string, data any) error {
	b, err := json.Marshal(data)
	if err == nil {
		_, err = fmt.Fprintf(s.w, "event: %s\n%sdata: %s\n\n", event, id, b)
	}
	return err
}

// id is the line that says from where on a watcher can go on.
func (s *stream) id(position uint64) string {
	return fmt.Sprintf("id: %s-%d\n", s.admin.epoch, position)
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

// serveWatch streams the changes from the position in Last-Event-ID, or after all that
// there is. Whoever falls so far behind that changes are not kept for them any more,
// or reads nothing for a while, is cut off. When they come back with their id they are
// told to forget everything, and get all anew.
func (a *Admin) serveWatch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead { // would go on without end, and nobody would notice
		return
	}
	if host := hostOf(r.RemoteAddr); host.IsValid() {
		if !a.hosts.take(host, maxWatchesPerHost) {
			Fail(w, foyer.Errorf(foyer.Busy, "%d watch from your address already", maxWatchesPerHost))
			return
		}
		defer a.hosts.release(host)
		select {
		case a.watches <- struct{}{}:
			defer func() { <-a.watches }()
		default:
			Fail(w, foyer.Errorf(foyer.Busy, "%d watch already", maxWatches))
			return
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.ctx, func() {
		cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // for one who does not read
	})()

	watch := a.server.Watch()
	defer watch.Close()
	s := &stream{w: w, admin: a, watch: watch}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("last_event_id")
	}
	err := s.serve(ctx, last)
	if errors.Is(err, discovery.ErrBehind) || errors.Is(err, os.ErrDeadlineExceeded) && a.ctx.Err() == nil {
		a.metrics.cutOff.Inc()
		a.options.Log.Warn("a watcher was too slow, and is cut off", "peer", r.RemoteAddr)
	}
}

// serve sends what a watcher needs who has a copy as of the id last, until ctx ends or
// something fails.
func (s *stream) serve(ctx context.Context, last string) error {
	if resumes := s.resume(last); resumes {
		if err := s.catchUp(ctx, true); err != nil {
			return err
		}
	} else if err := s.sendAll(ctx); err != nil {
		return err
	}
	if err := s.send("synced", s.id(s.watch.Position()), struct{}{}); err != nil {
		return err
	}
	for {
		if err := s.flush(); err != nil {
			return err
		}
		wait, stop := context.WithTimeout(ctx, heartbeat)
		err := s.sendChanges(wait, true)
		stop()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			_, err = s.w.Write([]byte(": nothing has changed\n\n"))
		}
		if err != nil {
			return err
		}
	}
}

// resume goes back to the position in an id, if that can be.
func (s *stream) resume(id string) bool {
	epoch, number, _ := strings.Cut(id, "-")
	position, err := strconv.ParseUint(number, 10, 64)
	return err == nil && epoch == s.admin.epoch && s.watch.Resume(position)
}

// sendAll sends all that is registered, and between what has changed, so that whoever
// reads as fast as things change does not fall behind. Until the copy is complete
// there is no id to come back with.
func (s *stream) sendAll(ctx context.Context) error {
	if err := s.send("reset", "id\n", struct{}{}); err != nil {
		return err
	}
	n := 0
	for reg, err := range discovery.Registrations(s.admin.view, "", "", watchBatch) {
		if err == nil {
			err = s.send("room", "", Change{Row: s.admin.server.Row(&reg)})
		}
		if n++; err == nil && n%watchBatch == 0 && s.watch.Waiting() {
			err = s.sendChanges(ctx, false)
		}
		if err != nil {
			return err
		}
	}
	return s.catchUp(ctx, false)
}

// catchUp sends the changes that there are already, with or without ids.
func (s *stream) catchUp(ctx context.Context, ids bool) error {
	end, err := s.watch.Latest(ctx)
	for err == nil && s.watch.Position() < end {
		err = s.sendChanges(ctx, ids)
	}
	return err
}

// sendChanges waits for changes and sends them, with or without ids.
func (s *stream) sendChanges(ctx context.Context, ids bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	position, id := s.watch.Position(), ""
	n, err := s.watch.Read(ctx, s.changes[:])
	for i := range s.changes[:n] {
		c := &s.changes[i]
		if position++; ids {
			id = s.id(position)
		}
		if c.Ended {
			err = s.send("gone", id, Gone{c.Registration.Name, c.Registration.Address, kindOf(c), c.Time})
		} else {
			err = s.send("room", id, Change{s.admin.server.Row(&c.Registration), kindOf(c), c.Time})
		}
		if err != nil {
			break
		}
	}
	return err
}

func kindOf(c *discovery.Change) string {
	if c.Kind == 0 {
		return Settled
	}
	return c.Kind.String()
}
