package discovery

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"foyer"
	"foyer/storage"
)

const (
	// FeedLength is how many changes are kept for those who watch, at some 400
	// bytes each, and 1.5 KB at most: a watcher may be so far behind.
	FeedLength = 1 << 14

	// feedIdle is how long changes are kept when nobody watches any more, so that
	// whoever was cut off can go on.
	feedIdle = 10 * time.Minute
)

// A Change is what became of a name in a transaction.
type Change struct {
	// Kind says what happened; it is 0 where only the result is known, because a
	// transaction was in doubt.
	Kind storage.Kind
	Time time.Time // in UTC and whole milliseconds

	// Registration is the registration of the name from then on, or if that has
	// ended what it was, or only its name.
	Registration foyer.Registration
	Ended        bool
}

// ErrBehind means that changes that a [Watch] wants are not kept any more.
var ErrBehind = errors.New("the changes since then are not kept any more")

// A feed keeps the last changes for those who watch. When nobody does it keeps none.
type feed struct {
	// commits, of capacity 1, is held from before a transaction's changes can be
	// read from the store until they are published.
	commits chan struct{}

	mu      sync.Mutex // guards what follows
	keeping bool
	watches int
	left    time.Time     // when the last of them was closed
	base    uint64        // position of the first change since it began to keep them
	next    uint64        // position of the next change
	ring    []Change      // the last ones, that at a position at (position - base) % FeedLength
	news    chan struct{} // closed when there are more
}

func (f *feed) first() uint64 { return f.next - uint64(len(f.ring)) }

// publish adds what a transaction has done.
func (f *feed) publish(at time.Time, effects []effect) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.keeping {
		return
	}
	before := f.next
	for i := range effects {
		e := &effects[i]
		if e.rescue {
			continue
		}
		c := Change{e.kind, at, e.registration, e.ends}
		// Copies: the strings of a Store's registration may keep far more alive.
		c.Registration.Name = foyer.Name(strings.Clone(string(c.Registration.Name)))
		c.Registration.Address = foyer.Address(strings.Clone(string(c.Registration.Address)))
		c.Registration.Exits = foyer.Exits(strings.Clone(string(c.Registration.Exits)))
		if len(f.ring) < FeedLength {
			f.ring = append(f.ring, c)
		} else {
			f.ring[(f.next-f.base)%FeedLength] = c
		}
		f.next++
	}
	if f.next > before {
		close(f.news)
		f.news = make(chan struct{})
	}
}

// rest stops keeping changes when nobody has watched for a while.
func (f *feed) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches == 0 && time.Since(f.left) > feedIdle {
		f.keeping, f.ring = false, nil
	}
}

// A Watch reads the changes of registrations in their order; renewals are none.
// Whoever begins to watch, then reads all of the store, and then applies the changes
// up to [Watch.Latest], asked after reading, has an exact copy: what was in the store already is only
// applied again. It is for one goroutine.
type Watch struct {
	feed *feed
	next uint64
}

// Watch begins to watch. The Watch must be closed.
func (s *Server) Watch() *Watch {
	f := &s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.keeping {
		f.keeping = true
		f.next++ // positions of before are not good any more
		f.base = f.next
	}
	if f.news == nil {
		f.news = make(chan struct{})
	}
	f.watches++
	return &Watch{f, f.next}
}

// Position returns the position of the next change, for [Watch.Resume].
func (w *Watch) Position() uint64 { return w.next }

// Latest returns the position behind the last change that there is: all that could
// be read from the store before the call comes before it. It waits for the transaction
// that is being written; its error is that of ctx.
func (w *Watch) Latest(ctx context.Context) (uint64, error) {
	select {
	case w.feed.commits <- struct{}{}:
		defer func() { <-w.feed.commits }()
		return w.newest(), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (w *Watch) newest() uint64 {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	return w.feed.next
}

// Waiting reports whether there are changes to read.
func (w *Watch) Waiting() bool { return w.next < w.newest() }

// Resume goes back to a position that a Watch of the same Server had. It returns
// false, and changes nothing, if changes since then are not kept any more.
func (w *Watch) Resume(position uint64) bool {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	if position < w.feed.first() || position > w.feed.next {
		return false
	}
	w.next = position
	return true
}

// Read waits for changes and puts them into changes, as many as there are and fit. Its
// error is [ErrBehind], or that of ctx.
func (w *Watch) Read(ctx context.Context, changes []Change) (n int, err error) {
	f := w.feed
	for {
		f.mu.Lock()
		news := f.news
		if w.next < f.first() {
			f.mu.Unlock()
			return 0, ErrBehind
		}
		for n < len(changes) && w.next < f.next {
			changes[n] = f.ring[(w.next-f.base)%FeedLength]
			n++
			w.next++
		}
		f.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Close ends the Watch.
func (w *Watch) Close() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	if w.feed.watches--; w.feed.watches == 0 {
		w.feed.left = time.Now()
	}
}

// Watches returns how many there are.
func (s *Server) Watches() int {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.feed.watches
}
