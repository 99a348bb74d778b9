package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer/storage"
	"foyer/storage/engine"
)

// A Store is a [storage.Shared] in an etcd cluster.
type Store struct {
	*engine.Store
	log    *clusterLog
	logger *slog.Logger
	pace   pace
	stop   context.CancelFunc
	done   sync.WaitGroup

	// Of keep.
	lease clientv3.LeaseID
	marks []mark // of the last rounds in which this registry was the oldest
}

var _ storage.Shared = (*Store)(nil)

// Options are what a Store may be told. The zero value is sensible.
type Options struct {
	Log *slog.Logger // gets what operators should know; nil discards it
}

// Open opens the world at an address, with everything that it holds loaded. Its error wraps
// [storage.ErrDamaged], [storage.ErrNewerFormat] or [foyer.ErrUnavailable].
func Open(address *Address, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	client, err := address.connect()
	if err != nil {
		return nil, err
	}
	s, err := open(client, address, &o)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return s, nil
}

func open(client *clientv3.Client, address *Address, o *Options) (*Store, error) {
	l := newLog(client, address)
	e, err := engine.Open(l, engine.Pace{})
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = storage.Unavailable(errUnreachable)
		}
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{Store: e, log: l, logger: o.Log, pace: usualPace, stop: stop}
	behind := l.loaded + 1
	s.done.Go(func() { l.follow(ctx, behind) })
	s.done.Go(func() { s.keep(ctx) })
	return s, nil
}

func newLog(client *clientv3.Client, address *Address) *clusterLog {
	return &clusterLog{
		address: address, client: client, kv: client.KV, id: uuid.Must(uuid.NewV7()).String(),
		news: make(chan struct{}, 1), changed: make(chan struct{}), waiting: map[string]bool{},
	}
}

// Close implements [engine.Log].
func (l *clusterLog) Close() error { return nil }

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	err := s.Store.Close()
	s.disappear()
	return errors.Join(err, s.log.client.Close())
}
