package engine_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/engine"
	"foyer/storage/storetest"
)

// contents is what a log keeps.
type contents struct {
	state  []byte
	pieces map[string][]byte
	head   uint64
	log    []byte // from head on
}

func contentsOf(t *testing.T, l *storetest.MemoryLog) *contents {
	t.Helper()
	c := &contents{pieces: map[string][]byte{}, head: l.Head()}
	for key, value := range l.Pieces() {
		c.pieces[key] = bytes.Clone(value)
	}
	state, end, err := l.Load(func() func(string, []byte) error { return func(string, []byte) error { return nil } })
	if err != nil {
		t.Fatal(err)
	}
	c.state, c.log = state, make([]byte, end-c.head)
	if _, err := l.ReadAt(c.log, int64(c.head)); err != nil {
		t.Fatal(err)
	}
	return c
}

// kept returns a log that keeps c.
func (c *contents) kept(t *testing.T) *storetest.MemoryLog {
	t.Helper()
	l := storetest.NewMemoryLog()
	b := &engine.Batch{Group: append(make([]byte, c.head), c.log...), State: c.state, Needed: c.head, Pieces: c.pieces}
	if err := l.Append(b); err != nil {
		t.Fatal(err)
	}
	return l
}

// copies opens stores on copies of a log: as it is, and without its snapshot.
func copies(t *testing.T, log *recording) (stores []*engine.Store, logs []*recording) {
	t.Helper()
	c := contentsOf(t, log.MemoryLog)
	if len(c.pieces) > 0 {
		with := *c
		logs = append(logs, &recording{MemoryLog: with.kept(t)})
	}
	c.state, c.pieces = engine.WithoutSnapshot(c.state), nil
	logs = append(logs, &recording{MemoryLog: c.kept(t)})
	for _, l := range logs {
		stores = append(stores, open(t, l))
	}
	return stores, logs
}

// TestTheSameGroupsGiveTheSameState: stores that have read the groups, with or
// without a snapshot, are as the one that has made them, and go on as it does.
func TestTheSameGroupsGiveTheSameState(t *testing.T) {
	seed := testenv.Seed(t)
	for _, names := range []int{5, 60} {
		log := &recording{MemoryLog: storetest.NewMemoryLog()}
		s := open(t, log)
		walk := storetest.NewWalk(seed, names)
		compared, withPieces := 0, 0
		for i := range 220 {
			if i%12 != 5 {
				walk.Next().Carry(s)
				continue
			}
			stores, logs := copies(t, log)
			withPieces += len(stores) - 1
			before := inspect(t, s)
			for j, other := range stores {
				if err := walk.Compare(other, s); err != nil {
					t.Fatalf("after step %d, copy %d: %v", i, j, err)
				}
				in := inspect(t, other)
				if !slices.Equal(in.Ended, before.Ended) {
					t.Fatalf("after step %d, copy %d: the order of those that have ended differs:\n got %q\nwant %q", i, j, in.Ended, before.Ended)
				}
			}
			for range 3 {
				step := walk.Next()
				n := len(log.groups)
				want, wantErr := step.Carry(s)
				for j, other := range stores {
					got, err := step.Carry(other)
					if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
						t.Fatalf("step %d of copy %d:\n got %q, %v\nwant %q, %v", i, j, got, err, want, wantErr)
					}
					if len(log.groups) > n && !bytes.Equal(logs[j].last(), log.last()) {
						t.Fatalf("step %d of copy %d: the group is\n%x\nand should be\n%x", i, j, logs[j].last(), log.last())
					}
					if got, want := inspect(t, other), inspect(t, s); got.Outcomes != want.Outcomes || got.End != want.End {
						t.Fatalf("step %d of copy %d: outcomes from %d on, the end at %d; want %d and %d", i, j, got.Outcomes, got.End, want.Outcomes, want.End)
					}
					compared += len(log.groups) - n
				}
			}
		}
		in := inspect(t, s)
		t.Logf("%d names: %d groups compared, %d copies had pieces, %d parts", names, compared, withPieces, in.Parts)
		if compared < 50 || withPieces < 5 || in.Snapshot == 0 || in.Outcomes == 0 || names > 20 && in.Parts < 4 {
			t.Error("that is too little")
		}
	}
}

// TestTheSameOutcomes asks for outcomes of every age, also when there are too many
// old ones for one Update to let go.
func TestTheSameOutcomes(t *testing.T) {
	log := &recording{MemoryLog: storetest.NewMemoryLog()}
	s := open(t, log)
	const names = 200
	nameOf := func(i int) foyer.Name { return foyer.Name(fmt.Sprint("room ", i)) }
	answers := func(s *engine.Store) (list []string) {
		err := s.Update(s.Last(), func(tx storage.Tx) error {
			for i := range names {
				o, ok, err := tx.Outcome(idOf(nameOf(i)))
				if err != nil {
					return err
				}
				list = append(list, fmt.Sprintf("%v %s", ok, o.Reply))
			}
			list = append(list, fmt.Sprint(tx.Outcomes()))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	check := func(wantKept int) {
		t.Helper()
		stores, _ := copies(t, log)
		want := answers(s)
		for _, other := range stores {
			if got := answers(other); !slices.Equal(got, want) {
				t.Errorf("the outcomes are %q, want %q", got, want)
			}
		}
		kept := 0
		for i, a := range want[:names] {
			if a == fmt.Sprintf("true OK %s", nameOf(i)) {
				kept++
			} else if a != "false " {
				t.Errorf("the outcome of %q is %q", nameOf(i), a)
			}
		}
		if kept != wantKept {
			t.Errorf("%d outcomes are kept, want %d", kept, wantKept)
		}
	}
	for i := range names { // a second apart
		if err := register(s, nameOf(i), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	check(names)
	now := s.Last()
	update := func(lease time.Duration) {
		t.Helper()
		if err := s.Update(storage.Instant{Wall: now.Wall, Lease: lease}, func(storage.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	update(time.Second + storage.OutcomeRetention) // the first is as old as that, and kept
	check(names)
	update(time.Second + storage.OutcomeRetention + 1)
	check(names - 1)
	update(100*time.Second + storage.OutcomeRetention) // 99 are too old at once
	check(names - 99)
	for range 99 {
		update(100*time.Second + storage.OutcomeRetention)
	}
	check(names - 99)
	if in := inspect(t, s); in.Outcomes == 0 {
		t.Error("no outcome was let go")
	}
	update(time.Hour + storage.OutcomeRetention)
	check(0)
}

// TestTheSameHolds fills the holds, all of which are over, and adds one.
func TestTheSameHolds(t *testing.T) {
	log := &recording{MemoryLog: storetest.NewMemoryLog()}
	s := open(t, log)
	hold := func(s *engine.Store, now time.Time, names ...foyer.Name) {
		t.Helper()
		err := s.Update(storage.Instant{Wall: now}, func(tx storage.Tx) error {
			for _, name := range names {
				if err := tx.Hold(storage.Hold{Name: name, Since: epoch, Until: now.Add(time.Minute)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	names := make([]foyer.Name, storage.MaxHolds)
	for i := range names {
		names[i] = foyer.Name(fmt.Sprint("room ", i))
	}
	hold(s, epoch, names[50:]...)
	hold(s, epoch.Add(time.Hour), names[:50]...)
	stores, logs := copies(t, log)
	stores, logs = stores[:1], logs[:1]
	hold(s, epoch.Add(time.Hour), "one more")
	hold(stores[0], epoch.Add(time.Hour), "one more")
	if list, err := s.Holds(); err != nil || len(list) != 51 {
		t.Errorf("%d holds, %v; want 51", len(list), err)
	}
	if !bytes.Equal(log.last(), logs[0].last()) {
		t.Error("the groups differ")
	}
	inspect(t, s)
}

// TestHistoryNamesAfterAKill lets more names end than are remembered, some of
// them in the part of the log that is replayed.
func TestHistoryNamesAfterAKill(t *testing.T) {
	log := &recording{MemoryLog: storetest.NewMemoryLog()}
	large := engine.Pace{Log: 1 << 18, Names: 512, Part: 64}
	openLarge := func(l engine.Log) *engine.Store {
		s, err := engine.Open(l, large)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := openLarge(log)
	model := storetest.NewModel(storetest.Sabotage{})
	names := storage.HistoryNames + 5000
	nameOf := func(i int) foyer.Name { return foyer.Name(fmt.Sprintf("room %d", i)) }
	now := storage.Instant{}
	step := func(i int) func(storage.Tx) error {
		return func(tx storage.Tx) error {
			for j := i; j < min(i+997, names); j++ {
				r := foyer.Registration{Name: nameOf(j * 7919 % names), Address: "room://h:1"}
				for _, k := range []storage.Kind{storage.Registered, storage.Expired} {
					if err := tx.Apply(storage.Event{Kind: k, Registration: r}); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	for i := 0; i < names; i += 997 {
		now.Lease += time.Second
		for _, s := range []storage.Store{s, model} {
			if err := s.Update(now, step(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := contentsOf(t, log.MemoryLog)
	againLog := &recording{MemoryLog: c.kept(t)}
	again := openLarge(againLog)
	in, before := inspect(t, again), inspect(t, s)
	if in.Snapshot == 0 || in.Snapshot == in.End || len(c.pieces) < 100 {
		t.Errorf("there are %d pieces of a snapshot at %d of %d", len(c.pieces), in.Snapshot, in.End)
	}
	forgotten := 0
	for i := 0; i < names; i += 13 { // which meets every part of the order
		want, _ := model.History(nameOf(i))
		if got, err := again.History(nameOf(i)); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q has %d events, %v; want %d", nameOf(i), len(got), err, len(want))
		}
		if len(want) == 0 {
			forgotten++
		}
	}
	if want := 5000 / 13; forgotten < want/2 || forgotten > want*2 {
		t.Errorf("%d of the names looked at are forgotten, want about %d", forgotten, want)
	}
	// The order in which the rest will be forgotten is the same, too.
	if len(in.Ended) != storage.HistoryNames || !slices.Equal(in.Ended, before.Ended) {
		t.Error("the order of the ended names has changed")
	}
	// Some that come again are not forgotten, others that end are in their turn.
	for _, s := range []*engine.Store{s, again} {
		err := s.Update(now, func(tx storage.Tx) error {
			for i, name := range before.Ended[:20] {
				r := foyer.Registration{Name: foyer.Name(name), Address: foyer.Address(fmt.Sprint("room://other:", i))}
				if err := tx.Apply(storage.Event{Kind: storage.Registered, Registration: r}); err != nil {
					return err
				}
				if i >= 10 {
					if err := tx.Apply(storage.Event{Kind: storage.Evicted, Registration: r}); err != nil {
						return err
					}
				}
			}
			return step(0)(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(log.last(), againLog.last()) {
		t.Error("the next groups differ")
	}
	in, before = inspect(t, again), inspect(t, s)
	if len(in.Ended) != storage.HistoryNames || !slices.Equal(in.Ended, before.Ended) {
		t.Error("the order of the ended names has changed")
	}
}
