package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A pace says how often something is done for all registries. The usual one is a variable
// for tests.
type pace struct {
	round  time.Duration // between two looks at whether there is something to do
	rounds int           // for which what is not needed any more is kept, for those who lag
	save   uint64        // bytes of log that are worth a snapshot, at least
}

var usualPace = pace{round: 10 * time.Second, rounds: 6, save: 64 << 20}

// presenceTTL is how long after its last sign of life a registry counts as there.
const presenceTTL = 10 * time.Second

// A Member is a registry as it shows itself to the others.
type Member struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	Process int       `json:"process"`
	Started time.Time `json:"started"`
}

// Members returns the registries that are there, the oldest first.
func (s *Store) Members(ctx context.Context) ([]Member, error) {
	response, err := s.log.kv.Get(ctx, s.log.key("registries/"), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, err
	}
	var members []Member
	for _, kv := range response.Kvs {
		var m Member
		if err := json.Unmarshal(kv.Value, &m); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// keep shows the others that this registry is there, and as long as it is the oldest does
// what is done for all, until ctx ends.
func (s *Store) keep(ctx context.Context) {
	host, _ := os.Hostname()
	self, _ := json.Marshal(Member{ID: s.log.id, Host: host, Process: os.Getpid(), Started: time.Now().UTC()})
	round := time.NewTicker(s.pace.round)
	defer round.Stop()
	for ctx.Err() == nil {
		there, err := s.appear(ctx, string(self))
		if err != nil {
			s.logger.Debug("cannot show the other registries that this one is there", "err", err)
		}
		for present := err == nil; present; {
			select {
			case _, present = <-there:
			case <-round.C:
				if err := s.round(ctx); err != nil && ctx.Err() == nil {
					s.logger.Warn("cannot tidy up in etcd", "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-round.C:
		}
	}
}

// appear shows that this registry is there. The channel is closed when it is not any more.
func (s *Store) appear(ctx context.Context, self string) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	within, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	lease, err := s.log.client.Grant(within, int64(presenceTTL/time.Second))
	if err != nil {
		return nil, err
	}
	s.lease = lease.ID
	if _, err := s.log.kv.Put(within, s.log.key("registries/"+s.log.id), self, clientv3.WithLease(lease.ID)); err != nil {
		return nil, err
	}
	return s.log.client.KeepAlive(ctx, lease.ID)
}

// disappear shows that this registry is not there any more.
func (s *Store) disappear() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	_, _ = s.log.kv.Delete(ctx, s.log.key("queue/"+s.log.id))
	if s.lease != 0 {
		_, _ = s.log.client.Revoke(ctx, s.lease)
	}
}

// A mark is how much of the log was needed in a round, and the revision of the cluster.
type mark struct {
	needed   uint64
	revision int64
}

// round does what is due: a snapshot, and letting go of what has not been needed for some
// rounds.
func (s *Store) round(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 5*requestTime)
	defer cancel()
	oldest, err := s.log.kv.Get(within, s.log.key("registries/"), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(1))
	if err != nil {
		return err
	}
	if len(oldest.Kvs) == 0 || string(oldest.Kvs[0].Key) != s.log.key("registries/"+s.log.id) {
		s.marks = s.marks[:0]
		return nil
	}
	response, err := s.log.kv.Get(within, s.log.key("snapshot"))
	if err != nil {
		return err
	}
	var now snapshot
	if len(response.Kvs) > 0 {
		if now, err = decodeSnapshot(response.Kvs[0].Value); err != nil {
			return err
		}
	}
	if s.log.known()-now.from > max(s.pace.save, now.chunks*chunkBytes) {
		began := time.Now()
		if err := s.Save(); err != nil {
			return err
		}
		s.logger.Info("wrote a snapshot", "took", time.Since(began).Round(time.Millisecond))
	}
	s.marks = append(s.marks, mark{min(now.from, s.OutcomesFrom()), response.Header.Revision})
	if len(s.marks) <= s.pace.rounds {
		return nil
	}
	old := s.marks[0]
	s.marks = s.marks[1:]
	if _, err := s.log.kv.Delete(within, s.log.key("log/"), clientv3.WithRange(s.log.lastBefore(old.needed))); err != nil {
		return err
	}
	if s.log.address.NoCompaction {
		return nil
	}
	_, err = s.log.client.Compact(within, old.revision)
	if errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrPermissionDenied) { // by somebody else, or for somebody else
		return nil
	}
	return err
}

// known returns how far the log is known.
func (l *clusterLog) known() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache.end
}

// lastBefore returns the key of the last group that begins in front of a position, or at it:
// those in front of that one end in front of the position.
func (l *clusterLog) lastBefore(position uint64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g, _, ok := l.cache.at(position); ok {
		return l.logKey(g.position)
	}
	if position >= l.cache.end && len(l.cache.groups) > 0 {
		return l.logKey(l.cache.groups[len(l.cache.groups)-1].position)
	}
	return l.logKey(0)
}
