package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

var errDone = errors.New("the benchmark is done")

// recordMany records n outcomes in one group.
func recordMany(tb testing.TB, s *Store, n int) {
	err := s.Update(storage.Instant{Wall: time.UnixMilli(1e12).UTC()}, func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Record(storage.Outcome{ID: numberedID(i), Reply: fmt.Appendf(nil, "reply %d", i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func numberedID(i int) (id foyer.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
	return id
}

// A retry reads its own outcome, and not the rest of the group, however large that
// is.
func TestARetryReadsOneOutcome(t *testing.T) {
	const outcomes, retries, most = 20_000, 1000, 4 << 10 // bytes
	s := openQuick(t, filepath.Join(t.TempDir(), "rooms.db"))
	defer s.Close()
	recordMany(t, s, outcomes)
	var before, after runtime.MemStats
	err := s.Update(s.Last(), func(tx storage.Tx) error {
		runtime.ReadMemStats(&before)
		for i := range retries {
			i := i * 7919 % outcomes
			if o, ok, err := tx.Outcome(numberedID(i)); !ok || err != nil || string(o.Reply) != fmt.Sprint("reply ", i) {
				t.Fatalf("outcome %d is %+v, %v, %v", i, o, ok, err)
			}
		}
		runtime.ReadMemStats(&after)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if each := (after.TotalAlloc - before.TotalAlloc) / retries; each > most {
		t.Errorf("a retry takes %d bytes of memory, want %d at most", each, most)
	}
}

// The look-up of an outcome in groups of several sizes; compare BenchmarkUpdate.
func BenchmarkRetry(b *testing.B) {
	for _, n := range []int{1, 100, 12_000} {
		b.Run(fmt.Sprintf("group of %d", n), func(b *testing.B) {
			s := openQuick(b, filepath.Join(b.TempDir(), "rooms.db"))
			defer s.Close()
			recordMany(b, s, n)
			i := 0
			err := s.Update(s.Last(), func(tx storage.Tx) error {
				for b.Loop() {
					i = (i + 7919) % n
					if _, ok, err := tx.Outcome(numberedID(i)); !ok || err != nil {
						b.Fatal(ok, err)
					}
				}
				return errDone
			})
			if err != errDone {
				b.Fatal(err)
			}
		})
	}
}
