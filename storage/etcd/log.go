package etcd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"foyer/storage"
	"foyer/storage/engine"
)

const (
	// requestTime is how long etcd may take to answer. What was sent is then in doubt.
	requestTime = 2 * time.Second

	// turnTime is how long a registry may have the turn, as another one sees it, without
	// appending. A round trip of any cluster is shorter.
	turnTime = 50 * time.Millisecond

	// partBytes is how much is put into one key; etcd takes 1.5 MiB in a request.
	partBytes = 1 << 20

	// fetchGroups is how many groups are asked for at a time.
	fetchGroups = 64

	// maxLog is how long the log may get, in bytes, before nothing more is appended. etcd's
	// quota is 2 GiB, unless its operator has said otherwise.
	maxLog = 1 << 30
)

// clockBytes is enough for a group that changes nothing but the time, by which the log gets
// shorter again.
const clockBytes = 64

const formatVersion = 1

// A clusterLog is an [engine.SharedLog] in an etcd cluster.
type clusterLog struct {
	address *Address
	client  *clientv3.Client
	id      string // this registry's
	kv      clientv3.KV

	state, summary []byte // as End and Load have left them; the engine's
	loaded         int64  // the revision of which Load has read
	asks           bool   // End asks; the engine's

	news chan struct{}

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed when head, or who waits, has changed
	head    head
	seen    time.Time // when the head was
	cache   cache
	old     old
	waiting map[string]bool // ids
	waits   bool            // this registry is among them, or will be
	err     error           // why nothing more can be done with this log
}

var _ engine.SharedLog = (*clusterLog)(nil)

// A head is what is kept under the key head.
type head struct {
	raw      []byte // its value; nil if there is none
	revision int64  // of the cluster when it was put
	chain    [8]byte
	end      uint64
	turn     string
	state    []byte
}

func (h *head) encode() []byte {
	b := append([]byte{formatVersion}, h.chain[:]...)
	b = binary.BigEndian.AppendUint64(b, h.end)
	b = append(append(b, byte(len(h.turn))), h.turn...)
	return append(b, h.state...)
}

func decodeHead(raw []byte, revision int64) (h head, err error) {
	h = head{raw: raw, revision: revision}
	switch {
	case len(raw) > 0 && raw[0] != formatVersion:
		return h, fmt.Errorf("%w: version %d of the head", storage.ErrNewerFormat, raw[0])
	case len(raw) < 18 || len(raw) < 18+int(raw[17]):
		return h, fmt.Errorf("%w: the head does not decode", storage.ErrDamaged)
	}
	copy(h.chain[:], raw[1:])
	h.end = binary.BigEndian.Uint64(raw[9:])
	turn := 18 + int(raw[17])
	h.turn, h.state = string(raw[18:turn]), raw[turn:]
	return h, nil
}

// link returns the chain behind a group. One without any bytes leaves it as it is.
func link(chain [8]byte, group []byte) (next [8]byte) {
	if len(group) == 0 {
		return chain
	}
	h := sha256.New()
	h.Write(chain[:])
	h.Write(group)
	copy(next[:], h.Sum(nil))
	return next
}

func (l *clusterLog) key(name string) string { return l.address.Prefix + name }

func (l *clusterLog) logKey(position uint64) string {
	return fmt.Sprintf("%slog/%016x", l.address.Prefix, position)
}

// logEnd is behind the keys of all groups.
func (l *clusterLog) logEnd() string { return l.key("log0") }

func requestContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	return clientv3.WithRequireLeader(ctx), cancel
}

var errUnreachable = errors.New("no member of the etcd cluster can be reached")

// reachable returns an error if a request would not be sent.
func (l *clusterLog) reachable() error {
	c := l.client.ActiveConnection()
	switch state := c.GetState(); state {
	case connectivity.Ready:
		return nil
	case connectivity.Idle:
		c.Connect()
		fallthrough
	default:
		ctx, cancel := context.WithTimeout(context.Background(), requestTime/4)
		defer cancel()
		c.WaitForStateChange(ctx, state)
		if c.GetState() != connectivity.Ready {
			return errUnreachable
		}
		return nil
	}
}

// definite are the refusals after which nothing has happened, now or later.
var definite = []error{
	rpctypes.ErrNoSpace, rpctypes.ErrTooManyRequests, rpctypes.ErrRequestTooLarge, rpctypes.ErrNoLeader,
	rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision,
}

// Append implements [engine.Log].
func (l *clusterLog) Append(b *engine.Batch) error {
	h, err := l.awaitTurn(b.Position)
	if err != nil {
		return err
	}
	if err := l.reachable(); err != nil {
		return err
	}
	value, err := l.groupValue(&h, b)
	if err != nil {
		return err
	}
	next := head{chain: link(h.chain, b.Group), end: h.end + uint64(len(b.Group)), turn: l.nextTurn(), state: b.State}
	next.raw = next.encode()
	unchanged := clientv3.Compare(clientv3.Value(l.key("head")), "=", string(h.raw))
	if h.raw == nil {
		unchanged = clientv3.Compare(clientv3.CreateRevision(l.key("head")), "=", 0)
	}
	then := []clientv3.Op{clientv3.OpPut(l.key("head"), string(next.raw))}
	if len(b.Group) > 0 {
		then = append(then, clientv3.OpPut(l.logKey(h.end), string(value)))
	}
	if h.turn != "" && h.turn != l.id { // taken over
		then = append(then, clientv3.OpDelete(l.key("queue/"+h.turn)))
	}
	if l.waits {
		then = append(then, clientv3.OpDelete(l.key("queue/"+l.id)))
	}
	ctx, cancel := requestContext()
	defer cancel()
	response, err := l.kv.Txn(ctx).If(unchanged).Then(then...).Else(append(l.behind(b.Position), clientv3.OpPut(l.key("queue/"+l.id), ""))...).Commit()
	if err != nil {
		for _, refusal := range definite {
			if errors.Is(rpctypes.Error(err), refusal) {
				return err
			}
		}
		l.asks = true
		return fmt.Errorf("%w: %w", storage.ErrUncertain, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !response.Succeeded {
		l.waits, l.asks = true, true
		l.learnBehind(response)
		return fmt.Errorf("%w: at %d", engine.ErrConflict, b.Position)
	}
	l.waits = false
	next.revision = response.Header.Revision
	if l.cache.end == h.end { // or the watch was faster
		l.cache.add(b.Group)
		l.advance(next)
	}
	return nil
}

// groupValue returns what is put under the key of a group, and puts its parts if it is too
// long for one key.
func (l *clusterLog) groupValue(h *head, b *engine.Batch) ([]byte, error) {
	if l.kept() > maxLog && len(b.Group) > clockBytes {
		return nil, fmt.Errorf("the log is %d bytes long, as long as it may be: so much has changed in the last minutes", maxLog)
	}
	if len(b.Group) <= partBytes {
		return slices.Concat([]byte{0}, h.chain[:], b.Group), nil
	}
	var random [8]byte
	rand.Read(random[:])
	n := 0
	for part := range slices.Chunk(b.Group, partBytes) {
		ctx, cancel := requestContext()
		_, err := l.kv.Put(ctx, partKey(l.logKey(h.end), random[:], n), string(part))
		cancel()
		if err != nil {
			return nil, err // parts without their group do no harm
		}
		n++
	}
	value := append([]byte{1}, h.chain[:]...)
	return append(binary.BigEndian.AppendUint64(value, uint64(len(b.Group))), random[:]...), nil
}

// kept returns how many bytes of the log are kept.
func (l *clusterLog) kept() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache.end - l.cache.start()
}

// partKey returns the key of a part of the group that has the given key.
func partKey(group string, random []byte, n int) string {
	return fmt.Sprintf("%s.%x/%016x", group, random, n)
}

// group returns the chain in front of a group, and the group, from the value of its key.
func (l *clusterLog) group(kv *mvccpb.KeyValue) (chain [8]byte, group []byte, err error) {
	v := kv.Value
	if len(v) < 9 || v[0] > 1 || v[0] == 1 && len(v) != 25 {
		return chain, nil, fmt.Errorf("%w: %s does not decode", storage.ErrDamaged, kv.Key)
	}
	copy(chain[:], v[1:])
	if v[0] == 0 {
		return chain, v[9:], nil
	}
	size := binary.BigEndian.Uint64(v[9:])
	for n := 0; uint64(len(group)) < size; n++ {
		ctx, cancel := requestContext()
		response, err := l.kv.Get(ctx, partKey(string(kv.Key), v[17:], n))
		cancel()
		if err != nil {
			return chain, nil, err
		}
		if len(response.Kvs) == 0 || len(response.Kvs[0].Value) == 0 {
			return chain, nil, fmt.Errorf("%w: a part of %s is missing", storage.ErrDamaged, kv.Key)
		}
		group = append(group, response.Kvs[0].Value...)
	}
	return chain, group, nil
}

// End implements [engine.Log].
func (l *clusterLog) End() (uint64, error) {
	if l.asks {
		if err := l.ask(); err != nil {
			return 0, err
		}
		l.asks = false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = l.head.state
	return l.head.end, l.err
}

// behind returns what reads the head, and groups from a position on, for learnBehind.
func (l *clusterLog) behind(position uint64) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(l.key("head")),
		clientv3.OpGet(l.logKey(position), clientv3.WithRange(l.logEnd()), clientv3.WithLimit(fetchGroups)),
	}
}

// ask finds out where the log ends, by a quorum of the cluster. Any goroutine may call it.
func (l *clusterLog) ask() error {
	for {
		l.mu.Lock()
		err, end := l.err, l.cache.end
		l.mu.Unlock()
		if err != nil {
			return err
		}
		ctx, cancel := requestContext()
		response, err := l.kv.Txn(ctx).Then(l.behind(end)...).Commit()
		cancel()
		if err != nil {
			return err
		}
		l.mu.Lock()
		done := l.learnBehind(response)
		err = l.err
		l.mu.Unlock()
		if err != nil || done {
			return err
		}
	}
}

// State implements [engine.SharedLog].
func (l *clusterLog) State() []byte { return l.state }

// News implements [engine.SharedLog].
func (l *clusterLog) News() <-chan struct{} { return l.news }

// Summary implements [engine.SharedLog].
func (l *clusterLog) Summary() []byte { return l.summary }

// Check implements [engine.Log].
func (l *clusterLog) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
