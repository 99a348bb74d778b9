package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer/storage"
	"foyer/storage/engine"
)

// learned is a group that was read, and the chain in front of it.
type learned struct {
	position uint64
	chain    [8]byte
	group    []byte
}

// learn takes in a group. It returns false if one in front of it is missing. The lock is held.
func (l *clusterLog) learn(g *learned) bool {
	switch c := &l.cache; {
	case g.position < c.end: // known
	case g.position > c.end:
		return false
	case g.chain != c.chain:
		l.fail(fmt.Errorf("%w: the group at %d", storage.ErrDiverged, g.position))
	default:
		c.add(g.group)
	}
	return true
}

// fail ends what can be done with the log. The lock is held.
func (l *clusterLog) fail(err error) {
	if l.err == nil {
		l.err = err
		l.tell()
	}
}

// tell tells those who wait that something has changed. The lock is held.
func (l *clusterLog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// advance takes in a head whose groups are known. The lock is held.
func (l *clusterLog) advance(h head) {
	l.head, l.seen = h, time.Now()
	l.tell()
}

// learnBehind takes in what a request with the operations of behind has returned. It returns
// false if there are more groups. The lock is held.
func (l *clusterLog) learnBehind(response *clientv3.TxnResponse) (done bool) {
	revision := response.Header.Revision
	heads, groups := response.Responses[0].GetResponseRange().Kvs, response.Responses[1].GetResponseRange().Kvs
	if revision < l.head.revision {
		if len(heads) == 0 || heads[0].ModRevision < l.head.revision && !l.isBehind(heads[0]) {
			l.fail(fmt.Errorf("%w: etcd is at revision %d, and was at %d", storage.ErrDiverged, revision, l.head.revision))
		}
		return true // the watch was faster
	}
	if len(heads) == 0 {
		if l.head.raw != nil {
			l.fail(fmt.Errorf("%w: it is gone", storage.ErrDiverged))
		}
		return true
	}
	h, err := decodeHead(heads[0].Value, heads[0].ModRevision)
	if err != nil {
		l.fail(err)
		return true
	}
	if h.revision == l.head.revision && string(h.raw) == string(l.head.raw) {
		return true
	}
	for _, kv := range groups {
		position, ok := l.position(kv)
		if !ok || position < l.cache.end {
			continue
		}
		chain, group, err := l.group(kv)
		if err != nil {
			if errors.Is(err, storage.ErrDamaged) {
				l.fail(err)
			}
			return true // asked again
		}
		if !l.learn(&learned{position, chain, group}) {
			l.fail(fmt.Errorf("%w: what was in front of %d is not kept any more, and it has come to %d", storage.ErrDiverged, position, l.cache.end))
			return true
		}
	}
	return l.reach(&h)
}

// isBehind reports whether a head may have been there before the one that is known.
func (l *clusterLog) isBehind(kv *mvccpb.KeyValue) bool {
	h, err := decodeHead(kv.Value, kv.ModRevision)
	return err == nil && h.end <= l.head.end
}

// reach takes in a head if the groups in front of it are known, and returns false if they are
// not. The lock is held.
func (l *clusterLog) reach(h *head) bool {
	switch {
	case l.err != nil:
		return true
	case h.end > l.cache.end:
		return false
	case h.end < l.head.end, h.end == l.cache.end && h.chain != l.cache.chain:
		l.fail(fmt.Errorf("%w: it ends at %d, and was known up to %d", storage.ErrDiverged, h.end, l.cache.end))
	case h.end == l.cache.end:
		l.advance(*h)
	}
	return true
}

// Retries of the watch wait for as long.
const watchPause = 200 * time.Millisecond

// follow learns what others append until ctx ends.
func (l *clusterLog) follow(ctx context.Context, revision int64) {
	for ctx.Err() == nil {
		revision = l.watch(ctx, revision)
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// watch learns what others append, from a revision on, until that cannot go on, and returns
// from which revision on it should.
func (l *clusterLog) watch(ctx context.Context, revision int64) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range l.client.Watch(clientv3.WithRequireLeader(ctx), l.key("head"), clientv3.WithRange(l.key("snapshot")),
		clientv3.WithRev(revision), clientv3.WithProgressNotify()) {
		switch err := r.Err(); {
		case errors.Is(err, rpctypes.ErrCompacted):
			return l.readAgain(revision)
		case err != nil:
			return revision
		}
		revision = r.Header.Revision + 1
		if l.take(r.Events) {
			return l.readAgain(revision)
		}
	}
	return revision
}

// take takes in events. It returns true if some before them were missed.
func (l *clusterLog) take(events []*clientv3.Event) (missed bool) {
	groups := make([]*learned, len(events)) // with their parts, which takes time
	for i, e := range events {
		if name := string(e.Kv.Key[len(l.address.Prefix):]); e.Type == clientv3.EventTypePut && strings.HasPrefix(name, "log/") {
			if position, ok := l.position(e.Kv); ok {
				chain, group, err := l.group(e.Kv)
				if err != nil {
					return true
				}
				groups[i] = &learned{position, chain, group}
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range events {
		name := string(e.Kv.Key[len(l.address.Prefix):])
		put := e.Type == clientv3.EventTypePut
		id, queued := strings.CutPrefix(name, "queue/")
		switch {
		case queued:
			if delete(l.waiting, id); put {
				l.waiting[id] = true
			}
		case !put && strings.HasPrefix(name, "log/"):
			if position, ok := l.position(e.Kv); ok {
				l.cache.trim(position)
			}
		case groups[i] != nil:
			missed = !l.learn(groups[i]) || missed
		case name == "head" && !put:
			l.fail(fmt.Errorf("%w: it is gone", storage.ErrDiverged))
		case name == "head" && e.Kv.ModRevision > l.head.revision:
			h, err := decodeHead(e.Kv.Value, e.Kv.ModRevision)
			if err != nil {
				l.fail(err)
				break
			}
			if i+1 < len(events) && groups[i+1] != nil { // the one that was put with it
				missed = !l.learn(groups[i+1]) || missed
			}
			missed = !l.reach(&h) || missed
		}
	}
	return missed
}

// readAgain reads what a watch has missed, and returns from which revision on to watch.
func (l *clusterLog) readAgain(revision int64) int64 {
	ctx, cancel := requestContext()
	defer cancel()
	response, err := l.kv.Get(ctx, l.key("queue/"), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return revision
	}
	l.mu.Lock()
	clear(l.waiting)
	for _, kv := range response.Kvs {
		l.waiting[strings.TrimPrefix(string(kv.Key), l.key("queue/"))] = true
	}
	l.mu.Unlock()
	if l.ask() != nil {
		return revision
	}
	return response.Header.Revision + 1
}

// awaitTurn returns the head when this registry may append behind it, or the error that it
// has moved on.
func (l *clusterLog) awaitTurn(position uint64) (head, error) {
	for {
		l.mu.Lock()
		h, changed, waits := l.head, l.changed, l.waits
		left := time.Until(l.seen.Add(turnTime))
		err := l.err
		l.mu.Unlock()
		switch {
		case err != nil:
			return h, err
		case h.end != position:
			return h, fmt.Errorf("%w: at %d instead of %d", engine.ErrConflict, h.end, position)
		case h.turn == "" || h.turn == l.id || left <= 0:
			return h, nil
		}
		if !waits {
			l.queueUp()
		}
		select {
		case <-changed:
		case <-time.After(left):
		}
	}
}

// queueUp says that this registry waits for its turn. If that fails it has the turn later.
func (l *clusterLog) queueUp() {
	l.mu.Lock()
	l.waits = true
	l.mu.Unlock()
	go func() {
		ctx, cancel := requestContext()
		defer cancel()
		_, _ = l.kv.Put(ctx, l.key("queue/"+l.id), "")
	}()
}

// nextTurn returns the registry that is to append next: of those that wait the one behind
// this one, round and round.
func (l *clusterLog) nextTurn() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, next := "", ""
	for id := range l.waiting {
		if id == l.id {
			continue
		}
		if first == "" || id < first {
			first = id
		}
		if id > l.id && (next == "" || id < next) {
			next = id
		}
	}
	if next == "" {
		return first
	}
	return next
}
