package bolt

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// chunksInUse returns how many chunks there are, and how many bytes of them the
// index of names leads to, which it checks.
func chunksInUse(t *testing.T, s *Store) (chunks, live int) {
	t.Helper()
	found := make([]int, len(s.arena.live))
	for at, e := range s.names.all {
		found[at.number()] += e.size()
		if other, _ := s.addresses.lookup(e.address()); other != at {
			t.Fatalf("%q has its entry at %x and its address at %x", e.name(), at, other)
		}
	}
	for number, want := range found {
		switch got := s.arena.live[number]; {
		case got == dropped && want == 0 && s.arena.chunk(number) == nil:
		case got != want || s.arena.chunk(number) == nil:
			t.Fatalf("of chunk %d %d bytes are in use, and it says %d", number, want, got)
		default:
			chunks, live = chunks+1, live+got
		}
	}
	if s.addresses.len() != s.names.len() {
		t.Fatalf("there are %d names and %d addresses", s.names.len(), s.addresses.len())
	}
	return chunks, live
}

// churned returns the registration of a name after its nth change, of which all
// parts follow from n.
func churned(name string, number, n int) foyer.Registration {
	r := foyer.Registration{
		Name: foyer.Name(name), Address: foyer.Address(fmt.Sprintf("room://h%d-%d:1", number, n)),
		RegisteredAt: time.UnixMilli(int64(n)).UTC(), TTL: time.Duration(n) * time.Second, LeaseEnd: time.Duration(n),
	}
	for i := 0; i < len(r.Owner); i += 8 {
		r.Owner[i] = byte(n) | 1
	}
	return r
}

// TestReclaimBoundsMemory replaces and removes a million times, in steps of
// many sizes, some of which are given up.
func TestReclaimBoundsMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	var s Store
	s.entries.arena = &s.arena
	s.names.init(&s.arena, false)
	s.addresses.init(&s.arena, true)
	const names = 20_000
	all := make([]string, names)
	for i := range all {
		all[i] = fmt.Sprint("room ", i)
	}
	now := make([]*entry, names)
	most := 0
	for n := 0; n < 1_000_000; {
		s.reclaim(reclaimMin)
		var changed []*change
		step, given := 1+r.IntN(500), r.IntN(8) == 0
		at := r.IntN(names)
		for i := range step {
			i := (at + i*7) % names
			c := &change{name: all[i], old: now[i]}
			if now[i] == nil || r.IntN(3) > 0 {
				reg := churned(all[i], i, n)
				c.at, c.new = s.entries.add(&reg)
			}
			changed = append(changed, c)
			if !given {
				now[i] = c.new
			}
			n++
		}
		if !given {
			s.publishChanges(changed)
		}
		s.reclaim(reclaimPerEvent * step)
		inUse := len(s.arena.live) - len(s.arena.free)
		most = max(most, inUse)
	}
	chunks, live := chunksInUse(t, &s)
	t.Logf("%d chunks at the end, %d at most, for %d bytes in use", chunks, most, live)
	if limit := 2*names*128/chunkSize + 4; most > limit {
		t.Errorf("there were %d chunks, want no more than %d", most, limit)
	}
	for i, name := range all {
		switch e := s.names.find(name); {
		case (e == nil) != (now[i] == nil):
			t.Fatalf("%q: found %v, want %v", name, e != nil, now[i] != nil)
		case e != nil && e.registration() != now[i].registration():
			t.Fatalf("%q is %+v, want %+v", name, e.registration(), now[i].registration())
		}
	}
}

// TestStaleSlot holds what a reader has read of a slot against every way in which
// the writer can have gone on before the reader looks for the chunk.
func TestStaleSlot(t *testing.T) {
	const name = "room 0"
	for what, change := range map[string]func(s *Store, old *entry){
		"nothing": func(*Store, *entry) {},
		"moved": func(s *Store, old *entry) {
			s.names.put(s.entries.copy(old))
		},
		"moved and dropped": func(s *Store, old *entry) {
			s.names.put((&appender{arena: &s.arena}).copy(old))
			s.arena.drop(0)
		},
		"moved, dropped, and the number taken by another": func(s *Store, old *entry) {
			s.names.put((&appender{arena: &s.arena}).copy(old))
			s.arena.drop(0)
			(&appender{arena: &s.arena}).copy(old)
		},
		"removed": func(s *Store, _ *entry) { s.names.remove(name) },
		"in a shard that has grown": func(s *Store, old *entry) {
			h := s.names.hash(name)
			s.names.shard(h).Store(s.names.shard(h).Load().grown())
			s.names.put((&appender{arena: &s.arena}).copy(old))
			s.arena.drop(0)
			(&appender{arena: &s.arena}).copy(old)
		},
	} {
		t.Run(what, func(t *testing.T) {
			var s Store
			s.entries.arena = &s.arena
			s.names.init(&s.arena, false)
			s.names.put(testEntry(&s.entries, 0, 0))
			h := s.names.hash(name)
			shard := s.names.shard(h).Load()
			read := slot(shard.at(h).Load())
			old := s.arena.entry(read.ref())
			begun := s.names.probe(h)
			change(&s, old)
			got := s.names.resolve(h, shard, h, read)
			if what == "nothing" && got != old || what != "nothing" && got != nil {
				t.Errorf("the slot leads to %p, and led to %p", got, old)
			}
			if got, want := s.names.next(&begun), s.names.find(name); got != want {
				t.Errorf("a look-up that began before finds %p, want %p", got, want)
			}
		})
	}
}

// TestReclaimReaders looks names up while the chunks that they are in are
// emptied and dropped: names that never change must always be there, and the
// others be whole and no older than they were before.
func TestReclaimReaders(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "rooms.db"), &Options{noSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const names, moving, group = 2000, 1500, 500
	all := make([]string, names)
	for i := range all {
		all[i] = fmt.Sprint(strings.Repeat("x", foyer.MaxName-5), i)
	}
	var begun, finished atomic.Int64 // rounds
	update := func(kind storage.Kind, round int) {
		for from := 0; from < names; from += group {
			err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
				for i := from; i < from+group; i++ {
					if round > 1 && i >= moving {
						break
					}
					r := churned(all[i], i, round)
					if err := tx.Apply(storage.Event{Kind: kind, Time: r.RegisteredAt, Registration: r}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	update(storage.Registered, 1)
	begun.Store(1)
	finished.Store(1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	check := func(i int, r *foyer.Registration, err error, earliest, latest int64) bool {
		if err != nil {
			t.Errorf("%q: %v", all[i], err)
			return false
		}
		if i >= moving {
			earliest, latest = 1, 1
		}
		n := int64(r.LeaseEnd)
		if n < earliest || n > latest || *r != churned(all[i], i, int(n)) {
			t.Errorf("between rounds %d and %d it is %+v", earliest, latest, *r)
			return false
		}
		return true
	}
	for _, together := range []int{1, sideBySide, 2*sideBySide + 1} {
		readers.Go(func() {
			queries := make([]storage.Query, together)
			for from := 0; ; from = (from + together) % names {
				select {
				case <-done:
					return
				default:
				}
				for i := range queries {
					queries[i].Name = []byte(all[(from+i*7)%names])
				}
				earliest := finished.Load()
				s.FindAll(queries)
				latest := begun.Load()
				for i := range queries {
					q := &queries[i]
					if !check((from+i*7)%names, &q.Registration, q.Err, earliest, latest) {
						return
					}
				}
			}
		})
	}
	kept, err := s.Find([]byte(all[0]))
	if err != nil {
		t.Fatal(err)
	}
	for round := 2; round < 22; round++ {
		begun.Store(int64(round))
		update(storage.Replaced, round)
		finished.Store(int64(round))
	}
	close(done)
	readers.Wait()
	if kept != churned(all[0], 0, 1) {
		t.Errorf("a registration that was kept has become %+v", kept)
	}
	chunks, live := chunksInUse(t, s)
	t.Logf("%d chunks of %d, for %d bytes in use", chunks, len(s.arena.live), live)
	if written := 22 * moving * foyer.MaxName; chunks > 4 || written < 8*chunkSize {
		t.Errorf("there are %d chunks after %d bytes were written, want no more than 4", chunks, written)
	}
}
