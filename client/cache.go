package client

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"foyer"
)

// recheckAfter is how long stale answers are served at once after a failed
// look-up: the failure recheck timer of RFC 8767, section 5.
const recheckAfter = 30 * time.Second

// A cache keeps the answers to look-ups, and looks every name up by one request
// at a time. Its fields are guarded by Client.mu.
type cache struct {
	c     *Client       // set once
	size  int           // set once
	stale time.Duration // set once

	kept   map[foyer.Name]*list.Element // at most size
	recent list.List                    // of kept *entry, the one used last in front

	// searches are in progress, by name. Each has somebody waiting for it, or
	// an entry that was served stale; none lasts much longer than Timeout
	// without an answer.
	searches map[foyer.Name]*search

	silent time.Time // until when stale answers are served at once; zero once a registry has answered
}

// An entry is a cached answer.
type entry struct {
	name    foyer.Name
	address foyer.Address
	expires time.Time // stale from then on
}

// A search is a look-up in progress. One that is no longer in cache.searches is
// of use only to those who wait for it.
type search struct {
	name  foyer.Name
	batch *searchBatch
	done  chan struct{}
	found Found // set before done is closed
}

// A searchBatch is searches that were begun together, and end together when
// nobody waits for them any more.
type searchBatch struct {
	late     chan struct{}      // closed when no registry has answered for lateAfter
	cancel   context.CancelFunc // ends the searches
	searches []*search
	waiting  int // callers times searches; a caller that was served a stale answer still counts, so that its search goes on
}

func newCache(c *Client, size int, stale time.Duration) *cache {
	return &cache{c: c, size: size, stale: stale, kept: map[foyer.Name]*list.Element{}, searches: map[foyer.Name]*search{}}
}

// lookup is LookupAll. Lookup is the same for one name.
func (k *cache) lookup(ctx context.Context, names []foyer.Name) []Found {
	results := make([]Found, len(names))
	waits := k.begin(ctx, names, results)
	for i, s := range waits {
		if s != nil {
			results[i] = k.wait(ctx, s)
		}
	}
	return results
}

// begin fills in the cached results, and returns the searches for the other
// names, starting those that are not in progress.
func (k *cache) begin(ctx context.Context, names []foyer.Name, results []Found) []*search {
	// Callers come and go; no caller's context may end the others' search.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &searchBatch{late: make(chan struct{}), cancel: cancel}
	waits := make([]*search, len(names))
	for i, name := range names {
		name, err := foyer.ParseName(string(name))
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i].Answer, waits[i] = k.answerOrSearch(name, b)
	}
	if len(b.searches) == 0 {
		cancel()
		return waits
	}
	k.c.goWhileOpen(func() { k.run(ctx, b) })
	return waits
}

// answerOrSearch returns the cached answer or else the search to wait for,
// which it adds to b if there is none.
func (k *cache) answerOrSearch(name foyer.Name, b *searchBatch) (Answer, *search) {
	now := time.Now()
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if a, ok := k.answer(name, now, now.Before(k.silent)); ok {
		return a, nil
	}
	s := k.searches[name]
	if s == nil {
		s = &search{name: name, batch: b, done: make(chan struct{})}
		b.searches = append(b.searches, s)
		k.searches[name] = s
	}
	s.batch.waiting++
	return Answer{}, s
}

// run looks up the names of a batch.
func (k *cache) run(ctx context.Context, b *searchBatch) {
	defer b.cancel()
	names := make([]foyer.Name, len(b.searches))
	for i, s := range b.searches {
		names[i] = s.name
	}
	var once sync.Once
	late := func() { once.Do(func() { close(b.late) }) }
	k.c.lookupAll(ctx, names, late, func(i int, f Found) { k.finish(b.searches[i], f) })
}

// finish stores what was found, and passes it to those who wait.
func (k *cache) finish(s *search, f Found) {
	now := time.Now()
	k.c.mu.Lock()
	if isSilence(f.Err) && s.batch.waiting > 0 { // otherwise it was canceled
		k.silent = now.Add(recheckAfter)
	}
	if k.searches[s.name] == s { // and the name was not forgotten meanwhile
		delete(k.searches, s.name)
		if f.Err == nil && f.Answer.TTL > 0 {
			k.keep(entry{s.name, f.Answer.Address, now.Add(f.Answer.TTL)})
		} else if f.Err == nil || errors.Is(f.Err, foyer.ErrUnknownName) {
			k.drop(s.name)
		}
	}
	k.c.mu.Unlock()
	s.found = f
	close(s.done)
}

// isSilence reports whether a look-up failed in a way that makes a stale answer
// better.
func isSilence(err error) bool {
	refusal, ok := errors.AsType[*foyer.Error](err)
	return errors.Is(err, ErrNoAnswer) || ok && refusal.Code.Temporary()
}

// wait returns what the search finds or, if that takes too long, the stale
// answer.
func (k *cache) wait(ctx context.Context, s *search) Found {
	late := s.batch.late
	for {
		select {
		case <-s.done:
			k.left(s)
			if isSilence(s.found.Err) {
				if old, ok := k.staleAnswer(s.name); ok {
					return Found{Answer: old}
				}
			}
			return s.found
		case <-late:
			late = nil
			select {
			case <-s.done: // after all
				continue
			default:
			}
			if old, ok := k.staleAnswer(s.name); ok {
				return Found{Answer: old}
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				if old, ok := k.staleAnswer(s.name); ok {
					return Found{Answer: old}
				}
			}
			k.left(s)
			return Found{Err: k.c.noAnswer(ctx, nil)}
		}
	}
}

// left notes that somebody no longer waits for a search. When nobody waits for
// any search of its batch, the batch is canceled.
func (k *cache) left(s *search) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	s.batch.waiting--
	if s.batch.waiting > 0 {
		return
	}
	s.batch.cancel()
	for _, other := range s.batch.searches {
		if k.searches[other.name] == other {
			delete(k.searches, other.name)
		}
	}
}

// staleAnswer returns the cached answer, if it may still be served.
func (k *cache) staleAnswer(name foyer.Name) (Answer, bool) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.answer(name, time.Now(), true)
}

// answer returns the cached answer if it is fresh, or mayBeStale and it is not
// too old.
func (k *cache) answer(name foyer.Name, now time.Time, mayBeStale bool) (Answer, bool) {
	element := k.kept[name]
	if element == nil {
		return Answer{}, false
	}
	e := element.Value.(*entry)
	if left := e.expires.Sub(now); left > 0 {
		k.recent.MoveToFront(element)
		return Answer{Address: e.address, TTL: left.Truncate(time.Second)}, true
	}
	if !mayBeStale || now.Sub(e.expires) >= k.stale {
		return Answer{}, false
	}
	k.recent.MoveToFront(element)
	return Answer{Address: e.address, Stale: true}, true
}

// keep stores an answer, and may evict the least recently used one.
func (k *cache) keep(e entry) {
	k.drop(e.name)
	if len(k.kept) >= k.size {
		k.drop(k.recent.Back().Value.(*entry).name)
	}
	k.kept[e.name] = k.recent.PushFront(&e)
}

func (k *cache) drop(name foyer.Name) {
	if element := k.kept[name]; element != nil {
		k.recent.Remove(element)
		delete(k.kept, name)
	}
}

// forget drops what is known about a name, and look-ups in progress: the
// registration has changed, or may have.
func (c *Client) forget(name foyer.Name) {
	if c.cache == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.drop(name)
	delete(c.cache.searches, name)
}
