package etcd

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer/storage"
)

// cacheBytes is how much of the end of the log is kept in memory. Retries are answered from
// it; older outcomes are read from etcd, as they are let go of.
const cacheBytes = 64 << 20

// A cache is what this process knows of the log: the chain behind it, where each group is,
// and what the last ones say.
type cache struct {
	groups  []cached // one behind the other, up to end
	end     uint64
	chain   [8]byte
	dropped int // groups of which the bytes are not kept
	bytes   int // that are
}

type cached struct {
	position uint64
	bytes    []byte // nil if they are not kept
}

// start returns the position from which on groups are known.
func (c *cache) start() uint64 {
	if len(c.groups) == 0 {
		return c.end
	}
	return c.groups[0].position
}

func (c *cache) add(group []byte) {
	if len(group) == 0 {
		return
	}
	c.chain = link(c.chain, group)
	c.groups = append(c.groups, cached{c.end, slices.Clone(group)})
	c.end += uint64(len(group))
	c.bytes += len(group)
	for ; c.bytes > cacheBytes; c.dropped++ {
		c.bytes -= len(c.groups[c.dropped].bytes)
		c.groups[c.dropped].bytes = nil
	}
}

// trim lets go of the groups up to the one at a position.
func (c *cache) trim(position uint64) {
	n := sort.Search(len(c.groups), func(i int) bool { return c.groups[i].position > position })
	for i := range n {
		c.bytes -= len(c.groups[i].bytes)
	}
	c.groups = c.groups[n:]
	c.dropped = max(0, c.dropped-n)
}

func (c *cache) groupEnd(i int) uint64 {
	if i+1 < len(c.groups) {
		return c.groups[i+1].position
	}
	return c.end
}

// at returns the group that has the byte at a position, and which it is.
func (c *cache) at(position uint64) (g cached, end uint64, ok bool) {
	i := sort.Search(len(c.groups), func(i int) bool { return c.groups[i].position > position }) - 1
	if i < 0 || position >= c.end {
		return cached{}, 0, false
	}
	return c.groups[i], c.groupEnd(i), true
}

// ReadAt implements [io.ReaderAt].
func (l *clusterLog) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		position := uint64(off) + uint64(n)
		l.mu.Lock()
		g, end, ok := l.cache.at(position)
		ok = ok && uint64(off)+uint64(len(p)) <= l.cache.end
		l.mu.Unlock()
		if !ok {
			return n, fmt.Errorf("%w: the log has no %d bytes at %d", storage.ErrDamaged, len(p), off)
		}
		if g.bytes == nil {
			if g.bytes, err = l.old.read(l, g.position, end); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], g.bytes[position-g.position:])
	}
	return n, nil
}

// old has the groups that were read last of those that are not kept: who reads one reads
// the next ones as well.
type old struct {
	mu     sync.Mutex
	groups map[uint64][]byte
}

// oldBytes bounds what is read ahead, in bytes of log.
const oldBytes = 4 << 20

func (o *old) read(l *clusterLog, position, end uint64) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.groups[position]; b != nil {
		return b, nil
	}
	limit := min(fetchGroups, 1+oldBytes/int64(end-position))
	ctx, cancel := requestContext()
	defer cancel()
	response, err := l.kv.Get(ctx, l.logKey(position), clientv3.WithRange(l.logEnd()), clientv3.WithLimit(limit), clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	o.groups = map[uint64][]byte{}
	for _, kv := range response.Kvs {
		if at, ok := l.position(kv); ok {
			_, group, err := l.group(kv)
			if err != nil {
				return nil, err
			}
			o.groups[at] = group
		}
	}
	if b := o.groups[position]; uint64(len(b)) == end-position {
		return b, nil
	}
	return nil, fmt.Errorf("%w: the group at %d of the log is not there any more", storage.ErrDiverged, position)
}

// position returns the position of a group from its key, or false if it is that of a part.
func (l *clusterLog) position(kv *mvccpb.KeyValue) (position uint64, ok bool) {
	digits := kv.Key[len(l.address.Prefix)+len("log/"):]
	var b [8]byte
	if len(digits) != 16 {
		return 0, false
	}
	_, err := hex.Decode(b[:], digits)
	for _, c := range b {
		position = position<<8 | uint64(c)
	}
	return position, err == nil
}
