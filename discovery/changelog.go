package discovery

import (
	"context"
	"log/slog"
	"time"

	"foyer/storage"
)

// toldPerSecond is how many changes of a kind are logged one by one in a second,
// from whomever they come. Of more there is one line, with their number.
const toldPerSecond = 8

// told says which kinds of change are logged, and how.
var told = [...]struct{ one, more string }{
	storage.Registered:   {"registered", "more registered"},
	storage.Replaced:     {"replaced", "more replaced"},
	storage.Expired:      {"lease expired", "more leases expired"},
	storage.Deregistered: {"deregistered", "more deregistered"},
	storage.Evicted:      {"evicted by the operator", "more evicted by the operator"},
}

// A changeLog logs who registered, was replaced and left, once that is durable. It
// is the writer's.
type changeLog struct {
	noted  [len(told)]notes // by the transaction under way
	counts [len(told)]int   // of what was logged and counted in this second,
	began  time.Time        // which began then
}

// notes are the changes of a kind in a transaction.
type notes struct {
	first [toldPerSecond]storage.Event
	n     int
}

// begin starts the notes of a transaction.
func (l *changeLog) begin() { clear(l.noted[:]) }

// Apply implements [storage.Tx], and notes the event for the log and the counters,
// unless it is a checkpoint, which nobody has asked for.
func (t *transaction) Apply(e storage.Event) error {
	if e.Kind == storage.Extended && !e.From.IsValid() {
		return t.Tx.Apply(e)
	}
	of := &t.changeLog.noted[e.Kind]
	if of.n < toldPerSecond {
		of.first[of.n] = e
	}
	of.n++
	return t.Tx.Apply(e)
}

// durable logs what the transaction has noted.
func (l *changeLog) durable(log *slog.Logger) {
	for kind := range l.noted {
		of, count := &l.noted[kind], &l.counts[kind]
		if told[kind].one == "" {
			continue
		}
		for i := range min(of.n, toldPerSecond-*count) {
			e := &of.first[i]
			attrs := []any{"name", e.Registration.Name, "address", e.Registration.Address}
			if e.From.IsValid() {
				attrs = append(attrs, "from", e.From)
			}
			log.Info(told[kind].one, attrs...)
		}
		*count += of.n
	}
}

// sum logs how many more changes there were, if the second is over or at the end.
func (l *changeLog) sum(log *slog.Logger, end bool) {
	now := time.Now()
	if now.Sub(l.began) < time.Second && !end {
		return
	}
	l.began = now
	for kind, n := range l.counts {
		if n > toldPerSecond {
			log.LogAttrs(context.Background(), slog.LevelInfo, told[kind].more, slog.Int("count", n-toldPerSecond))
		}
		l.counts[kind] = 0
	}
}
