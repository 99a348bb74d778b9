package etcd

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"foyer"
	"foyer/internal/etcdtest"
	"foyer/storage"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]*Address{
		"etcd://a:1":                                       {Endpoints: []string{"a:1"}, Prefix: "/foyer/"},
		"etcd://a:1,[::1]:2/x/y/":                          {Endpoints: []string{"a:1", "[::1]:2"}, Prefix: "/x/y/"},
		"etcd://a:1/w?compact=off":                         {Endpoints: []string{"a:1"}, Prefix: "/w/", NoCompaction: true},
		"etcd://a:1?cacert=/c/a.pem":                       {Endpoints: []string{"a:1"}, Prefix: "/foyer/", CACert: "/c/a.pem"},
		"etcd://a:1/w?user=u&password-file=p&cert=c&key=k": {Endpoints: []string{"a:1"}, Prefix: "/w/", User: "u", PasswordFile: "p", Cert: "c", Key: "k"},
		"http://a:1":                                       nil, "etcd://": nil, "etcd://a": nil, "etcd://a:1,": nil, "etcd://:1": nil, "etcd://a:1?x=y": nil, "etcd://a:1?user=u": nil,
		"etcd://a:1?cert=c": nil, "etcd://a:1?compact=never": nil,
	} {
		if got, err := ParseAddress(in); (err == nil) != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

// keys returns the keys of a world, without its prefix.
func keys(t *testing.T, s *Store) (names []string) {
	t.Helper()
	r, err := s.log.kv.Get(context.Background(), s.log.address.Prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), s.log.address.Prefix))
	}
	return names
}

// TestRounds sees to it that the oldest registry, and no other, writes snapshots and lets go
// of the log, some rounds after it is of no use any more, and that who comes later, and who
// was there before, has all that is registered.
func TestRounds(t *testing.T) {
	a := newAddress(t)
	a.NoCompaction = false
	idle := pace{round: time.Hour, rounds: 2, save: 1000}
	first, second := openStore(t, a), openStore(t, a)
	ctx := context.Background()
	for _, s := range []*Store{first, second} {
		s.stop()
		s.done.Wait()
		s.pace = idle
		if _, err := s.appear(ctx, `{"id":"x"}`); err != nil {
			t.Fatal(err)
		}
	}
	count := func(prefix string) (n int) {
		for _, k := range keys(t, first) {
			if strings.HasPrefix(k, prefix) {
				n++
			}
		}
		return n
	}
	round := func(s *Store) {
		t.Helper()
		if err := s.round(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 30 {
		if _, _, err := claim(second, foyer.Name(fmt.Sprint("room ", n)), foyer.Address(fmt.Sprint("room://a:", n))); err != nil {
			t.Fatal(err)
		}
	}
	if round(second); count("snapshots/") != 0 || count("log/") != 30 {
		t.Fatalf("the younger one has changed something: %q", keys(t, first))
	}
	// Outcomes are kept for ten minutes; then nothing is needed that is in the snapshot.
	later := second.Last()
	later.Lease += storage.OutcomeRetention + time.Second
	for range 20 {
		if err := second.Update(later, nothing); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Update(later, nothing); err != nil { // it has heard of all that
		t.Fatal(err)
	}
	round(first)
	if count("snapshots/") != 1 || count("log/") != 51 {
		t.Fatalf("after the first round: %d chunks, %d groups", count("snapshots/"), count("log/"))
	}
	for range idle.rounds + 1 {
		round(first)
	}
	if n := count("log/"); n > 2 {
		t.Errorf("%d groups are left of the log", n)
	}
	if _, err := first.log.kv.Get(ctx, first.log.key("head"), clientv3.WithRev(2)); err == nil {
		t.Error("the history was not compacted")
	}
	if m, err := first.Members(ctx); err != nil || len(m) != 2 {
		t.Errorf("Members: %+v, %v", m, err)
	}
	third := openStore(t, a)
	all := []*Store{first, second, third}
	for n, s := range all {
		if s.Len() != 30 {
			t.Errorf("store %d has %d rooms", n, s.Len())
		}
	}
	for n, s := range all {
		if _, _, err := claim(s, foyer.Name(fmt.Sprint("more ", n)), foyer.Address(fmt.Sprint("room://b:", n))); err != nil {
			t.Errorf("store %d: %v", n, err)
		}
		if err := same(s, third); err != nil {
			t.Error(err)
		}
	}
}

// TestDiverged takes away what a store has read, or puts another world in its place, as a
// cluster does that is restored from a backup. The store says so, and changes nothing.
func TestDiverged(t *testing.T) {
	for name, harm := range map[string]func(s *Store, other *Store) error{
		"another world": func(s, other *Store) error {
			from, err := other.log.kv.Get(context.Background(), other.log.address.Prefix, clientv3.WithPrefix())
			if err != nil {
				return err
			}
			for _, kv := range from.Kvs {
				key := s.log.address.Prefix + strings.TrimPrefix(string(kv.Key), other.log.address.Prefix)
				if _, err := s.log.kv.Put(context.Background(), key, string(kv.Value)); err != nil {
					return err
				}
			}
			return nil
		},
		"nothing": func(s, _ *Store) error {
			_, err := s.log.kv.Delete(context.Background(), s.log.address.Prefix, clientv3.WithPrefix())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, other := openStore(t, newAddress(t)), openStore(t, newAddress(t))
			for n := range 3 {
				for host, s := range map[string]*Store{"a": s, "b": other} {
					if _, _, err := claim(s, foyer.Name(fmt.Sprint("room ", n)), foyer.Address(fmt.Sprintf("room://%s:%d", host, n))); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := harm(s, other); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Update(s.Last(), nothing); !errors.Is(err, storage.ErrDiverged) || !errors.Is(err, foyer.ErrUnavailable) {
					t.Errorf("Update: %v, want storage.ErrDiverged", err)
				}
			}
			if err := s.Check(); !errors.Is(err, storage.ErrDiverged) {
				t.Errorf("Check: %v", err)
			}
			if s.Len() != 3 {
				t.Errorf("%d rooms can be looked up", s.Len())
			}
		})
	}
}

// TestNoSpace: a cluster without space refuses, and nothing is in doubt.
func TestNoSpace(t *testing.T) {
	c := etcdtest.Start(t, 1, "--quota-backend-bytes", fmt.Sprint(16<<20))
	a, err := ParseAddress("etcd://" + c.Endpoints() + "/full")
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, a)
	if _, _, err := claim(s, "before", "room://a:1"); err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil && n < 100; n++ {
		_, err = s.log.kv.Put(context.Background(), fmt.Sprint("elsewhere ", n), strings.Repeat("x", 1<<20))
	}
	if err == nil {
		t.Fatal("it does not get full")
	}
	for range 2 {
		if err := s.Update(s.Last(), nothing); !errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, storage.ErrUncertain) {
			t.Errorf("Update: %v, want foyer.ErrUnavailable", err)
		}
	}
	if _, err := s.Find([]byte("before")); err != nil {
		t.Error(err)
	}
}

// TestNoQuorum: a member without a quorum carries nothing out, and look-ups go on; when there
// is one again, so does everything.
func TestNoQuorum(t *testing.T) {
	c := etcdtest.Start(t, 3)
	a, err := ParseAddress("etcd://" + c.Endpoint(0) + "/alone")
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, a)
	if _, _, err := claim(s, "before", "room://a:1"); err != nil {
		t.Fatal(err)
	}
	c.Kill(1)
	c.Kill(2)
	if err := s.Update(s.Last(), nothing); !errors.Is(err, foyer.ErrUnavailable) && !errors.Is(err, storage.ErrUncertain) {
		t.Errorf("Update: %v", err)
	}
	if _, err := s.Find([]byte("before")); err != nil {
		t.Error(err)
	}
	c.Restart(1)
	c.WaitHealthy()
	if _, _, err := claim(s, "after", "room://a:2"); err != nil {
		t.Error(err)
	}
	c.Kill(0)
	c.Kill(1)
	if err := s.Update(s.Last(), nothing); !errors.Is(err, foyer.ErrUnavailable) {
		t.Errorf("Update of a cluster of which nobody can be reached: %v", err)
	}
}
