package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// Change is the data of an event of type "room": a registration, and what has made it
// so, which is empty when the registration was there already.
type Change struct {
	discovery.Row
	Event string `json:"event,omitempty"` // registered, replaced or extended
}

// Gone is the data of an event of type "gone": the name is not registered any more.
type Gone struct {
	Name  foyer.Name `json:"name"`
	Event string     `json:"event,omitempty"` // expired, deregistered or evicted; empty if that is not known
	Time  time.Time  `json:"time"`            // RFC 3339, UTC
}

// newEpoch returns what tells the changes of this process from those of others.
func newEpoch() string { return rand.Text()[:8] }

// A stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	epoch   string
	changes [watchBatch]discovery.Change
}

// send writes an event, with the position of the next change if that is not 0.
func (s *stream) send(event string, position uint64, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if position != 0 {
		_, err = fmt.Fprintf(s.w, "event: %s\nid: %s-%d\ndata: %s\n\n", event, s.epoch, position, b)
	} else {
		_, err = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, b)
	}
	return err
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

// serveWatch streams the changes from the position in Last-Event-ID, or after all that
// there is. Whoever falls so far behind that changes are not kept for them any more,
// or reads nothing for a while, is cut off. When they come back with their id they are
// told to forget everything, and get all anew.
func (a *Admin) serveWatch(w http.ResponseWriter, r *http.Request) {
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
	defer context.AfterFunc(a.ctx, cancel)()

	watch := a.server.Watch()
	defer watch.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	s := &stream{w: w, epoch: a.epoch}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("last_event_id")
	}
	err := s.resume(watch, last)
	if errors.Is(err, discovery.ErrBehind) {
		err = a.sendAll(ctx, s, watch)
	}
	for err == nil {
		wait, stop := context.WithTimeout(ctx, heartbeat)
		err = a.sendChanges(wait, s, watch)
		stop()
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			_, err = w.Write([]byte(": nothing has changed\n\n"))
		}
		if err == nil {
			err = s.flush()
		}
	}
	if errors.Is(err, discovery.ErrBehind) {
		a.metrics.cutOff.Inc()
		a.options.Log.Warn("a watcher was too slow, and is cut off", "peer", r.RemoteAddr)
	}
}

// resume goes back to the position in an id. Its error is ErrBehind if that cannot be.
func (s *stream) resume(watch *discovery.Watch, id string) error {
	epoch, number, _ := strings.Cut(id, "-")
	position, err := strconv.ParseUint(number, 10, 64)
	if err != nil || epoch != s.epoch || !watch.Resume(position) {
		return discovery.ErrBehind
	}
	return s.flush()
}

// sendAll sends all that is registered, and then what has changed meanwhile: then the
// copy is complete.
func (a *Admin) sendAll(ctx context.Context, s *stream, watch *discovery.Watch) error {
	if err := s.send("reset", 0, struct{}{}); err != nil {
		return err
	}
	for reg, err := range discovery.Registrations(a.view, "", "", watchBatch) {
		if err == nil {
			err = s.send("room", 0, Change{Row: a.server.Row(&reg)})
		}
		if err != nil {
			return err
		}
	}
	for end := watch.Latest(); watch.Position() < end; {
		if err := a.sendChanges(ctx, s, watch); err != nil {
			return err
		}
	}
	if err := s.send("synced", watch.Position(), struct{}{}); err != nil {
		return err
	}
	return s.flush()
}

// sendChanges waits for changes and sends them.
func (a *Admin) sendChanges(ctx context.Context, s *stream, watch *discovery.Watch) error {
	position := watch.Position()
	n, err := watch.Read(ctx, s.changes[:])
	for i := range s.changes[:n] {
		c := &s.changes[i]
		position++
		if c.Ended {
			err = s.send("gone", position, Gone{c.Registration.Name, kindOf(c), c.Time})
		} else {
			err = s.send("room", position, Change{a.server.Row(&c.Registration), kindOf(c)})
		}
		if err != nil {
			break
		}
	}
	return err
}

func kindOf(c *discovery.Change) string {
	if c.Kind == 0 {
		return ""
	}
	return c.Kind.String()
}
