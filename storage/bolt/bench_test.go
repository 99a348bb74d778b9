package bolt_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/bolt"
)

// groupSize is half of 256 requests in flight: commit groups alternate.
const groupSize = 128

// A filler registers names that come in no order, with ids, in groups, as a
// service under load does.
type filler struct {
	store *bolt.Store
	rand  *rand.Rand
	now   storage.Instant
}

func newFiller(s *bolt.Store) *filler {
	return &filler{s, rand.New(rand.NewPCG(1, uint64(s.Len()))), s.Last()}
}

func (f *filler) group(n int) error {
	f.now.Wall = f.now.Wall.Add(time.Millisecond)
	f.now.Lease += time.Millisecond
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(f.now.Lease)
	return f.store.Update(f.now, func(tx storage.Tx) error {
		for range n {
			r := foyer.Registration{
				Name:         foyer.Name(fmt.Sprintf("room-%011x", f.rand.Uint64()>>20)),
				Address:      foyer.Address(fmt.Sprintf("room://10.%d.%d.%d:%d", f.rand.IntN(256), f.rand.IntN(256), f.rand.IntN(256), 1024+f.rand.IntN(60000))),
				RegisteredAt: now, TTL: 30 * time.Second, LeaseEnd: f.now.Lease + 30*time.Second,
				From: netip.AddrFrom4([4]byte{10, 0, 0, 1}),
			}
			if _, err := tx.NameAt(r.Address); err == nil {
				continue
			}
			if _, err := tx.Get(r.Name); err == nil {
				continue
			}
			o := storage.Outcome{Reply: []byte("@id=018f3b9c-8f6b-7cc3-98c4-dc0c0c07398f;ttl=30 OK")}
			binary.BigEndian.PutUint64(o.ID[:], f.rand.Uint64())
			binary.BigEndian.PutUint64(o.ID[8:], f.rand.Uint64())
			if err := tx.Record(o); err != nil {
				return err
			}
			if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now, Registration: r, From: r.From}); err != nil {
				return err
			}
		}
		return nil
	})
}

// filled returns a store with about n names.
func filled(tb testing.TB, n int) (path string, s *bolt.Store) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "rooms.db")
	s, err := bolt.Open(path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	f := newFiller(s)
	for s.Len() < n {
		if err := f.group(4096); err != nil {
			tb.Fatal(err)
		}
	}
	return path, s
}

func sizes(b *testing.B, run func(b *testing.B, n int)) {
	for _, n := range []int{0, 10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) { run(b, n) })
	}
}

// cpuTime returns how much this process has computed, in itself and in the
// kernel: it is steadier than the clock when others use the machine. It is 0
// where there is no /proc.
func cpuTime() time.Duration {
	b, _ := os.ReadFile("/proc/self/stat")
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100) // USER_HZ
}

// written returns how many bytes this process has sent to the block layer.
func written() int64 {
	b, _ := os.ReadFile("/proc/self/io")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// BenchmarkUpdate registers names that come in no order. One operation is one
// registration.
func BenchmarkUpdate(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		_, s := filled(b, n)
		defer s.Close()
		f := newFiller(s)
		before, cpu := written(), cpuTime()
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += groupSize {
			if err := f.group(groupSize); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(written()-before)/float64(b.N), "written/op")
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
	})
}

func BenchmarkFind(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		_, s := filled(b, max(n, 1))
		defer s.Close()
		names := someNames(b, s)
		i := 0
		for b.Loop() {
			if _, err := s.Find(names[i%len(names)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

// BenchmarkFindAll looks some names up together as one operation.
func BenchmarkFindAll(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		_, s := filled(b, max(n, 1))
		defer s.Close()
		names := someNames(b, s)
		for _, together := range []int{1, 2, 4, 8, 16, 64} {
			b.Run(strconv.Itoa(together), func(b *testing.B) {
				queries := make([]storage.Query, together)
				i := 0
				for b.Loop() {
					for j := range queries {
						queries[j].Name = names[i%len(names)]
						i++
					}
					s.FindAll(queries)
					for j := range queries {
						if queries[j].Err != nil {
							b.Fatal(queries[j].Err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed())/float64(b.N*together), "ns/name")
			})
		}
	})
}

// someNames returns names that are registered, in no order.
func someNames(b *testing.B, s *bolt.Store) [][]byte {
	b.Helper()
	list, err := s.List("", s.Len())
	if err != nil {
		b.Fatal(err)
	}
	names := make([][]byte, 1<<16)
	for i := range names {
		names[i] = []byte(list[rand.IntN(len(list))].Name)
	}
	return names
}

// BenchmarkOpen opens a store after a clean end, and as a killed process leaves the
// file.
func BenchmarkOpen(b *testing.B) {
	sizes(b, func(b *testing.B, n int) {
		path, s := filled(b, n)
		killed := path + ".killed"
		copyFile(b, path, killed)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct{ name, path string }{{"closed", path}, {"killed", killed}} {
			b.Run(c.name, func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					copyFile(b, c.path, path+".try")
					runtime.GC()
					b.StartTimer()
					s, err := bolt.Open(path+".try", nil)
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if got := s.Len(); got < n {
						b.Fatalf("it has %d names, want %d", got, n)
					}
					s.Close()
					b.StartTimer()
				}
			})
		}
	})
}

func copyFile(tb testing.TB, from, to string) {
	tb.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkMemory reports the bytes of heap for a name, of a store that has
// been opened anew.
func BenchmarkMemory(b *testing.B) {
	path, s := filled(b, 1_000_000)
	s.Close()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, err := bolt.Open(path, nil)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Len()), "bytes/name")
		s.Close()
	}
}
