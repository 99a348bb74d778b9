package etcd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer/storage"
)

const (
	// chunkBytes is how long a chunk of a snapshot is, but for the last.
	chunkBytes = 512 << 10

	// chunksAtOnce are read in a request.
	chunksAtOnce = 8
)

// A snapshot is what is kept under the key snapshot.
type snapshot struct {
	name         [8]byte
	from, chunks uint64
	summary      []byte
}

func (s *snapshot) encode() []byte {
	b := binary.BigEndian.AppendUint64(bytes.Clone(s.name[:]), s.from)
	return append(binary.BigEndian.AppendUint64(b, s.chunks), s.summary...)
}

func decodeSnapshot(b []byte) (s snapshot, err error) {
	if len(b) < 24 {
		return s, fmt.Errorf("%w: where the snapshot is does not decode", storage.ErrDamaged)
	}
	copy(s.name[:], b)
	s.from, s.chunks, s.summary = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]), b[24:]
	return s, nil
}

func (l *clusterLog) chunkKey(name [8]byte, n uint64) string {
	return fmt.Sprintf("%ssnapshots/%x/%016x", l.address.Prefix, name, n)
}

// Save implements [engine.SharedLog]. Chunks that are left behind when it fails are deleted by
// the next one.
func (l *clusterLog) Save(from uint64, pieces iter.Seq2[string, []byte], summary func() []byte) error {
	s := snapshot{from: from}
	rand.Read(s.name[:])
	before, err := l.clean()
	if err != nil {
		return err
	}
	var b []byte
	put := func(chunk []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*requestTime)
		defer cancel()
		_, err := l.kv.Put(ctx, l.chunkKey(s.name, s.chunks), string(chunk))
		s.chunks++
		return err
	}
	for key, piece := range pieces {
		b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
		b = binary.BigEndian.AppendUint32(append(b, key...), uint32(len(piece)))
		b = append(b, piece...)
		for len(b) > chunkBytes {
			if err := put(b[:chunkBytes]); err != nil {
				return err
			}
			b = b[:copy(b, b[chunkBytes:])]
		}
	}
	if err := put(b); err != nil {
		return err
	}
	s.summary = summary()
	ctx, cancel := context.WithTimeout(context.Background(), 5*requestTime)
	defer cancel()
	response, err := l.kv.Txn(ctx).If(
		clientv3.Compare(clientv3.CreateRevision(l.chunkKey(s.name, 0)), ">", 0), // nobody has cleaned it away
		clientv3.Compare(clientv3.ModRevision(l.key("snapshot")), "=", before),
	).Then(clientv3.OpPut(l.key("snapshot"), string(s.encode()))).Commit()
	if err == nil && !response.Succeeded {
		err = errors.New("another registry writes a snapshot")
	}
	return err
}

// clean deletes snapshots that do not count, and returns the revision of the one that does.
func (l *clusterLog) clean() (revision int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*requestTime)
	defer cancel()
	response, err := l.kv.Get(ctx, l.key("snapshot"))
	if err != nil {
		return 0, err
	}
	all := l.key("snapshots/")
	if len(response.Kvs) == 0 {
		_, err := l.kv.Delete(ctx, all, clientv3.WithPrefix())
		return 0, err
	}
	s, err := decodeSnapshot(response.Kvs[0].Value)
	if err != nil {
		return 0, err
	}
	_, err = l.kv.Txn(ctx).Then(
		clientv3.OpDelete(all, clientv3.WithRange(l.chunkKey(s.name, 0))),
		clientv3.OpDelete(l.chunkKey(s.name, s.chunks), clientv3.WithRange(clientv3.GetPrefixRangeEnd(all))),
	).Commit()
	return response.Kvs[0].ModRevision, err
}

// loadTime bounds how long a page of a snapshot or of the log may take.
const loadTime = 30 * time.Second

// Load implements [engine.Log]. As many workers as there are processors read pieces. All of it
// is as it was at one revision of the cluster.
func (l *clusterLog) Load(newWorker func() func(key string, value []byte) error) (state []byte, end uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	response, err := l.kv.Txn(ctx).Then(clientv3.OpGet(l.key("head")), clientv3.OpGet(l.key("snapshot"))).Commit()
	if err != nil {
		return nil, 0, err
	}
	l.loaded = response.Header.Revision
	heads, snapshots := response.Responses[0].GetResponseRange().Kvs, response.Responses[1].GetResponseRange().Kvs
	if len(heads) == 0 {
		return nil, 0, nil
	}
	h, err := decodeHead(heads[0].Value, heads[0].ModRevision)
	if err != nil {
		return nil, 0, err
	}
	if len(snapshots) > 0 {
		s, err := decodeSnapshot(snapshots[0].Value)
		if err == nil {
			l.summary = s.summary
			err = l.loadPieces(&s, newWorker)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	if err := l.loadLog(&h); err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(h)
	return h.state, h.end, nil
}

// pages calls yield with the keys and values of a range as they were when the log was loaded.
func (l *clusterLog) pages(from, to string, limit int64, yield func(*clientv3.GetResponse) error) error {
	for more := true; more; {
		ctx, cancel := context.WithTimeout(context.Background(), loadTime)
		response, err := l.kv.Get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(limit), clientv3.WithRev(l.loaded))
		cancel()
		if err == nil {
			err = yield(response)
		}
		if err != nil {
			return err
		}
		if more = response.More; more {
			from = string(response.Kvs[len(response.Kvs)-1].Key) + "\x00"
		}
	}
	return nil
}

func (l *clusterLog) loadPieces(s *snapshot, newWorker func() func(key string, value []byte) error) error {
	type piece struct{ key, value []byte }
	pieces := make(chan []piece, chunksAtOnce)
	errs := make([]error, runtime.GOMAXPROCS(0)+1)
	var workers sync.WaitGroup
	for w := range errs[1:] {
		show := newWorker()
		workers.Go(func() {
			for some := range pieces { // all of them, so that who reads does not wait
				for i := 0; i < len(some) && errs[w+1] == nil; i++ {
					errs[w+1] = show(string(some[i].key), some[i].value)
				}
			}
		})
	}
	n := uint64(0)
	var b []byte
	errs[0] = l.pages(l.chunkKey(s.name, 0), l.chunkKey(s.name, s.chunks), chunksAtOnce, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			n++
			b = slices.Concat(b, kv.Value) // not in place: pieces are views
			var some []piece
			for {
				key, rest, ok := takeBytes(b)
				value, rest, ok2 := takeBytes(rest)
				if !ok || !ok2 {
					break
				}
				some, b = append(some, piece{key, value}), rest
			}
			pieces <- some
		}
		return nil
	})
	close(pieces)
	workers.Wait()
	if n != s.chunks || len(b) > 0 {
		errs = append(errs, fmt.Errorf("%w: the snapshot has %d chunks of %d, and %d bytes are left", storage.ErrDamaged, n, s.chunks, len(b)))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBytes takes bytes off the front of b, behind their length. It returns false if they are
// not all there.
func takeBytes(b []byte) (p, rest []byte, ok bool) {
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
		return nil, b, false
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[4:n], b[n:], true
}

// loadLog reads the log up to a head.
func (l *clusterLog) loadLog(h *head) error {
	first := true
	err := l.pages(l.key("log/"), l.logEnd(), fetchGroups, func(r *clientv3.GetResponse) error {
		for _, kv := range r.Kvs {
			position, ok := l.position(kv)
			if !ok || position >= h.end {
				continue
			}
			chain, group, err := l.group(kv)
			if err != nil {
				return err
			}
			l.mu.Lock()
			if first {
				l.cache = cache{end: position, chain: chain}
				first = false
			}
			if !l.learn(&learned{position, chain, group}) {
				err = fmt.Errorf("%w: the log has nothing from %d to %d", storage.ErrDamaged, l.cache.end, position)
			}
			l.mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if first {
		l.cache = cache{end: h.end, chain: h.chain}
	}
	if l.err == nil && (l.cache.end != h.end || l.cache.chain != h.chain) {
		return fmt.Errorf("%w: the log ends at %d and should at %d", storage.ErrDamaged, l.cache.end, h.end)
	}
	return l.err
}
