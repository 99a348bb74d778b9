package discovery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// A tardyStore returns from an Update a second after everybody can read what it did.
type tardyStore struct{ storage.Store }

func (s tardyStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	err := s.Store.Update(now, fn)
	time.Sleep(time.Second)
	return err
}

// All that could be read from the store comes before Latest, so that whoever has read
// it all, and the changes up to there, has an exact copy.
func TestLatestIsBehindAllThatCanBeRead(t *testing.T) {
	run(t, func(b *bench) {
		b.stop()
		b.serveOn(tardyStore{b.store})
		w := b.server.Watch()
		defer w.Close()
		b.send("192.0.2.10", "REGISTER room://192.0.2.10:1 Foyer") // waits for a moment only
		if _, err := b.store.Find([]byte("Foyer")); err != nil || w.Waiting() {
			b.t.Fatalf("%v; published already: %v", err, w.Waiting())
		}
		impatient, cancel := context.WithTimeout(b.t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := w.Latest(impatient); !errors.Is(err, context.DeadlineExceeded) {
			b.t.Errorf("amid a transaction: %v", err)
		}
		end, err := w.Latest(b.t.Context())
		if err != nil || end != w.Position()+1 {
			b.t.Errorf("the latest change is at %d, %v, the first at %d", end, err, w.Position())
		}
	})
}

// Whoever is told of a change can read the lease that came with it.
func TestChangesComeAfterTheirLeases(t *testing.T) {
	run(t, func(b *bench) {
		w := b.server.Watch()
		defer w.Close()
		lacks := make(chan string)
		go func() {
			defer close(lacks)
			var changes [1]Change
			for range 200 {
				if _, err := w.Read(b.t.Context(), changes[:]); err != nil {
					lacks <- err.Error()
				} else if r := &changes[0].Registration; b.server.Row(r).LeaseRemaining == nil {
					lacks <- string(r.Name)
				}
			}
		}()
		for i := range 200 {
			b.expectCode(fmt.Sprintf("@ttl=30 REGISTER room://192.0.2.10:%d r%d", 1+i, i), "OK")
		}
		for name := range lacks {
			b.t.Errorf("%s had no lease", name)
		}
	})
}

// Changes are kept for a while when nobody watches, and then no more; a position from
// before is not good again.
func TestChangesAreNotKeptForNobody(t *testing.T) {
	run(t, func(b *bench) {
		w := b.server.Watch()
		b.expectCode("@x= REGISTER room://192.0.2.10:1 Foyer", "OK")
		position := w.Position()
		w.Close()
		time.Sleep(feedIdle - time.Minute)
		w = b.server.Watch()
		var changes [2]Change
		if n, err := 0, error(nil); !w.Resume(position) {
			b.t.Error("the change is not kept")
		} else if n, err = w.Read(b.t.Context(), changes[:]); n != 1 || err != nil || changes[0].Registration.Name != "Foyer" {
			b.t.Errorf("got %d, %v, %+v", n, err, changes[0])
		}
		position = w.Position()
		w.Close()
		time.Sleep(feedIdle + 2*time.Second) // nothing happens meanwhile
		b.server.feed.mu.Lock()
		if b.server.feed.ring != nil {
			b.t.Error("changes are kept for nobody")
		}
		b.server.feed.mu.Unlock()
		b.expectCode("@x= DEREGISTER Foyer", "OK")
		w = b.server.Watch()
		defer w.Close()
		if w.Resume(position) || w.Resume(position+1) && position+1 != w.Position() {
			b.t.Error("a position is good although changes since then are not kept")
		}
	})
}

// Registrations that began, were replaced, were given another lease and ended are
// changes, in this order; what is refused and what only lives on is none.
func TestChanges(t *testing.T) {
	run(t, func(b *bench) {
		w := b.server.Watch()
		defer w.Close()
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:9", "Foyer"), foyer.NotOwner)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Foyer"), "OK")
		b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:2 Foyer"), "OK")
		b.expectCode(b.signed(1, ";ttl=60", "RENEW room://192.0.2.10:2 Foyer"), "OK")
		b.expectCode("@x= LOOKUP Foyer", "OK")
		time.Sleep(90 * time.Second)
		b.expectCode("@x= REGISTER room://192.0.2.10:3 Foyer", "OK")
		b.expectCode("@x= DEREGISTER Foyer", "OK")
		b.expectCode("@x= REGISTER room://192.0.2.10:4 Foyer", "OK")
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 0); err != nil {
			b.t.Error(err)
		}
		want := []storage.Kind{
			storage.Registered, storage.Replaced, storage.Extended, storage.Expired, storage.Registered, storage.Deregistered, storage.Registered, storage.Evicted,
		}
		var changes [20]Change
		n, err := w.Read(b.t.Context(), changes[:])
		if err != nil || n != len(want) {
			b.t.Fatalf("%d changes, %v, want %d", n, err, len(want))
		}
		for i, c := range changes[:n] {
			if c.Kind != want[i] || c.Ended != want[i].Ends() || c.Registration.Name != "Foyer" {
				b.t.Errorf("change %d is %+v, want %v", i, c, want[i])
			}
		}
	})
}
