package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/storage/storetest"
	"foyer/wire"
)

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%2": "fe80::",
	} {
		if got := source(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("source(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestBucketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newBuckets(verifyRate, verifyBurst)
		flood := netip.MustParseAddr("10.0.0.1")
		allowed := 0
		for range 10 * verifyBurst {
			if v.allow(flood) {
				allowed++
			}
		}
		if allowed != verifyBurst {
			t.Errorf("%d signatures at once, want %d", allowed, verifyBurst)
		}
		a := netip.MustParseAddr("10.1.0.0")
		for range 10 * watchedSources {
			if a = a.Next(); !v.allow(a) {
				t.Fatalf("%s is refused for what others did", a)
			}
			if n := len(v.young) + len(v.old); n > watchedSources {
				t.Fatalf("the table has %d sources", n)
			}
		}
		time.Sleep(time.Second)
		if !v.allow(flood) {
			t.Error("refused for ever")
		}
	})
}

// While the disk does not answer, a source that floods fills its share of the
// queue and is told busy at once; another one's request still finds a place.
func TestFloodIsRefusedAlone(t *testing.T) {
	run(t, func(b *bench) {
		b.stall.next.Store(int64(time.Minute))
		flood, _ := b.net.Listen(netip.MustParseAddrPort("192.0.2.66:1"))
		polite, _ := b.net.Listen(netip.MustParseAddrPort("192.0.2.77:1"))
		_, _ = flood.WriteToUDPAddrPort([]byte("REGISTER room://192.0.2.66:1 First"), registryAddr)
		time.Sleep(time.Second) // it is being written
		busy := 0
		buf := make([]byte, 2048)
		for i := range 2 * queueLength {
			_, _ = flood.WriteToUDPAddrPort(fmt.Appendf(nil, "@n=%d REGISTER room://192.0.2.66:1 Flood", i), registryAddr)
			synctest.Wait()
			_ = flood.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, _, err := flood.ReadFromUDPAddrPort(buf); err == nil {
				if codeOf(t, string(buf[:n])) != foyer.Busy {
					t.Fatalf("got %q", buf[:n])
				}
				busy++
			}
		}
		if want := 2*queueLength - sourceShare + 1; busy != want {
			t.Errorf("%d requests of the flood were refused, want %d", busy, want)
		}
		b.expect("LOOKUP First", "NOTOK no room of that name is registered") // and look-ups go on
		_, _ = polite.WriteToUDPAddrPort([]byte("REGISTER room://192.0.2.77:1 Polite"), registryAddr)
		_ = polite.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if n, _, err := polite.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "OK" {
			t.Errorf("the other source got %q, %v", buf[:n], err)
		}
		synctest.Wait()
		b.server.shares.mu.Lock()
		defer b.server.shares.mu.Unlock()
		if n := len(b.server.shares.waiting); n != 0 {
			t.Errorf("%d sources are still counted", n)
		}
	})
}

// Signatures of one source are checked at a limited rate, and what is over is
// refused without a check.
func TestSignatureFlood(t *testing.T) {
	run(t, func(b *bench) {
		flood, _ := b.net.Listen(netip.MustParseAddrPort("192.0.2.66:1"))
		forged := b.registerSigned(1, "room://192.0.2.10:1", "Foyer")
		forged = strings.Replace(forged, "Foyer", "Other", 1)
		counts := map[foyer.Code]int{}
		buf := make([]byte, 2048)
		for range 2 * verifyBurst {
			_, _ = flood.WriteToUDPAddrPort([]byte(forged), registryAddr)
			synctest.Wait()
			_ = flood.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, _, err := flood.ReadFromUDPAddrPort(buf)
			if err != nil {
				t.Fatal(err)
			}
			counts[codeOf(t, string(buf[:n]))]++
		}
		if counts[foyer.BadSignature] != verifyBurst || counts[foyer.Busy] != verifyBurst {
			t.Errorf("got %v", counts)
		}
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
	})
}

// serveDatagram carries one datagram through everything but the goroutines.
func serveDatagram(s *Server, w *writer, data []byte) *exchange {
	x := exchangeOf(string(data))
	if s.answer(x, &w.lookups) {
		return x
	}
	if x.needsVerifier() {
		s.judge(x)
		if s.answer(x, &w.lookups) {
			return x
		}
	}
	x.mark()
	err := w.update(func(t *transaction) error {
		x.rewind()
		return t.carryOut(x)
	})
	if err != nil {
		panic(err)
	}
	return x
}

func exchangeOf(datagram string) *exchange {
	x := new(exchange)
	x.begin(&udp.Datagram{Data: []byte(datagram), Peer: netip.MustParseAddrPort("192.0.2.9:9")})
	return x
}

func newIdleServer(store storage.Store) (*Server, *writer) {
	s := New(store, Options{})
	return s, &writer{Server: s, meter: s.newMeter()}
}

// Whatever arrives: no panic, no more than three times its size in answer, a
// reply to every datagram that has a line, and the indexes agree.
func FuzzDatagram(f *testing.F) {
	const id = "@id=018f4e7a-1b2c-7d3e-8f40-112233445566"
	for _, s := range []string{
		"LOOKUP Foyer", "REGISTER room://h:1 Great Hall\nDEREGISTER Great Hall\nx", id + " REGISTER room://h:1 x\n" + id + " REGISTER room://h:2 x",
		"@ttl=1 REGISTER room://h:1 x\nRENEW room://h:1 x\n@ttl=9 RENEW room://h:1 x", id + ";key=a;sig=b REGISTER room://h:1 y", "\r\n\n@",
	} {
		f.Add([]byte(s), []byte("LOOKUP x"))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		store := storetest.NewModel(storetest.Sabotage{})
		s, w := newIdleServer(store)
		for _, data := range [][]byte{first, second, first} {
			if len(data) > wire.MaxDatagram+1 {
				return
			}
			x := serveDatagram(s, w, data)
			sent := 0
			for _, d := range x.datagrams(nil) {
				sent += len(d.Data) + wire.HeaderSize
				if len(d.Data) > wire.MaxDatagram || len(d.Data) == 0 {
					t.Errorf("%q got a reply of %d bytes", data, len(d.Data))
				}
			}
			if sent > wire.ReplyBudget(len(data)) {
				t.Errorf("%q got %d bytes in answer", data, sent)
			}
			if lines := strings.Trim(string(data), "\r\n"); sent == 0 && lines != "" && !strings.Contains(lines, "OK") {
				t.Errorf("%q got no answer", data)
			}
		}
		if err := store.Invariant(); err != nil {
			t.Error(err)
		}
	})
}

// A look-up costs no allocation from datagram to datagram.
func TestLookupAllocations(t *testing.T) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	serveDatagram(s, w, []byte("@ttl=30 REGISTER room://192.0.2.9:40001 Great Hall"))
	var x exchange
	out := make([]udp.Datagram, 0, 8)
	for _, request := range []string{
		"LOOKUP Great Hall", "@id=018f4e7a-1b2c-7d3e-8f40-112233445566 LOOKUP Great Hall", "LOOKUP nowhere",
		"LOOKUP Great Hall\nLOOKUP Great Hall\nLOOKUP Great Hall", "@ttl=30 RENEW room://192.0.2.9:40001 Great Hall",
	} {
		d := udp.Datagram{Data: []byte(request), Peer: netip.MustParseAddrPort("192.0.2.9:9")}
		if n := testing.AllocsPerRun(100, func() {
			x.begin(&d)
			if !s.answer(&x, &w.lookups) {
				t.Fatal("not answered")
			}
			out = x.datagrams(out[:0])
		}); n != 0 {
			t.Errorf("%q allocates %v times", request, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	serveDatagram(s, w, []byte("@ttl=30 REGISTER room://192.0.2.9:40001 Great Hall"))
	for name, request := range map[string]string{
		"plain":  "LOOKUP Great Hall",
		"tagged": "@id=018f4e7a-1b2c-7d3e-8f40-112233445566 LOOKUP Great Hall",
		"16":     strings.Repeat("LOOKUP Great Hall\n", 16),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var x exchange
			d := udp.Datagram{Data: []byte(request), Peer: netip.MustParseAddrPort("192.0.2.9:9")}
			for b.Loop() {
				x.begin(&d)
				s.answer(&x, &w.lookups)
			}
		})
	}
}

// What a batch of look-ups costs but for the system calls.
func BenchmarkBatch(b *testing.B) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	serveDatagram(s, w, []byte("@ttl=30 REGISTER room://192.0.2.9:40001 Great Hall"))
	for _, c := range []struct {
		name        string
		batch, line int
	}{{"1", 1, 1}, {"64", 64, 1}, {"64x16", 64, 16}} {
		b.Run(c.name, func(b *testing.B) {
			d := udp.Datagram{Data: []byte(strings.Repeat("LOOKUP Great Hall\n", c.line)), Peer: netip.MustParseAddrPort("192.0.2.9:9")}
			t := s.newIntake(&batchConn{batch: slices.Repeat([]udp.Datagram{d}, c.batch), times: 1 << 60})
			for b.Loop() {
				_, _, _ = t.takeIn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.batch*c.line), "ns/line")
		})
	}
}
