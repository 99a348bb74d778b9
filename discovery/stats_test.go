package discovery

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/internal/udp"
	"foyer/storage"
	"foyer/storage/storetest"
	"foyer/wire"
)

// nonZero returns the counters that count something.
func nonZero(counters map[string]uint64) map[string]uint64 {
	some := maps.Clone(counters)
	maps.DeleteFunc(some, func(_ string, n uint64) bool { return n == 0 })
	return some
}

// answeredAs returns all results of requests, as "verb code".
func answeredAs(stats *Stats) map[string]uint64 {
	all := map[string]uint64{}
	for verb, r := range stats.Requests {
		for code, n := range r.ByCode {
			all[verb+" "+code] = n
		}
	}
	return nonZero(all)
}

func expectCounts(t *testing.T, what string, got, want map[string]uint64) {
	t.Helper()
	if got = nonZero(got); !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// Requests of each verb and outcome are counted as they were answered, wherever that
// was: by the reader, a verifier or the writer, or from the record.
func TestStats(t *testing.T) {
	run(t, func(b *bench) {
		id := "@id=" + b.id(0) + ";ttl=20"
		b.expectCode(id+" REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.expectCode(id+" REGISTER room://192.0.2.10:1 Foyer", "OK") // the retry
		taken := "@id=" + b.id(0) + " REGISTER room://192.0.2.10:2 Foyer"
		b.expectCode(taken, foyer.NameTaken)
		b.expectCode(taken, foyer.NameTaken)
		b.expectCode(id+" REGISTER room://192.0.2.10:2 Hall", foyer.IDReused)
		b.expectCode("@id="+b.id(-time.Hour)+" REGISTER room://192.0.2.10:2 Hall", foyer.StaleRequest)
		b.expectCode("@ttl=90000 REGISTER room://192.0.2.11:2 Hall", foyer.ForeignAddress)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Hall"), "OK")
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:3", "Hall"), "OK")
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:3", "Hall"), foyer.NotOwner)
		b.expectCode(strings.Replace(b.registerSigned(1, "room://192.0.2.10:3", "Hall"), "ttl=30", "ttl=31", 1), foyer.BadSignature)

		b.ask("LOOKUP Foyer\nLOOKUP Foyer\nLOOKUP nowhere\nREGISTER room://192.0.2.10:9 Attic\nLOOKUP Attic\nDEREGISTER Attic\nfoo")
		b.expectCode("@x=1 LOOKUP Foyer", "OK")
		b.expectCode("@x=1 LOOKUP \xff", foyer.BadName)
		b.expectCode("@ttl=20 RENEW room://192.0.2.10:1 Foyer", "OK")
		b.expectCode("@id="+b.id(0)+";ttl=40 RENEW room://192.0.2.10:1 Foyer", "OK")
		b.expectCode("@ttl=20 RENEW room://192.0.2.10:7 Foyer", foyer.Replaced)
		b.expectCode("@x=1 RENEW room://192.0.2.10:1 Foy", foyer.UnknownName)
		b.expectCode("@x=1 DEREGISTER Foy", foyer.UnknownName)
		b.expectCode("@x=1 JUMP", foyer.UnknownVerb)
		b.ask("LOOKUP x" + strings.Repeat(" ", 2000)) // too large
		b.send("192.0.2.10", "OK is no request")

		if _, err := b.server.Evict(context.Background(), "Hall", time.Minute); err != nil {
			t.Error(err)
		}
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:3", "Hall"), foyer.Evicted)

		stats := b.server.Stats()
		expectCounts(t, "requests", answeredAs(stats), map[string]uint64{
			"register ok": 5, "register name-taken": 2, "register id-reused": 1, "register stale-request": 1, "register foreign-address": 1,
			"register not-owner": 1, "register bad-signature": 1, "register evicted": 1,
			"lookup ok": 4, "lookup unknown-name": 1, "lookup bad-name": 1,
			"renew ok": 2, "renew replaced": 1, "renew unknown-name": 1,
			"deregister ok": 1, "deregister unknown-name": 1,
			"other unknown-verb": 2, "other too-large": 1,
		})
		for verb, r := range stats.Requests {
			sum := uint64(0)
			for _, n := range r.ByCode {
				sum += n
			}
			if got := r.Duration.Count(); got != sum {
				t.Errorf("%s: %d durations of %d requests", verb, got, sum)
			}
		}
		expectCounts(t, "events", stats.Events, map[string]uint64{"registered": 3, "replaced": 1, "extended": 1, "deregistered": 1, "evicted": 1})
		if stats.DatagramsReceived != 23 || stats.DatagramsSent != 22 {
			t.Errorf("%d datagrams were received and %d sent, want 23 and 22", stats.DatagramsReceived, stats.DatagramsSent)
		}
		if stats.Registrations != 1 || stats.Holds != 1 || stats.Outcomes == 0 || !stats.Writable || stats.WriteQueueCapacity != queueLength {
			t.Errorf("got %+v", stats)
		}
		if got := stats.Commits["ok"]; got < 7 || stats.CommitDuration.Count() != got {
			t.Errorf("%d commits, %d durations", got, stats.CommitDuration.Count())
		}
		if got := stats.CommitDatagrams; got.Counts[0] != got.Count() || got.Sum != float64(got.Count()) || got.Count() < 10 {
			t.Errorf("groups: %+v", got)
		}
		expectCounts(t, "dropped", stats.Dropped, map[string]uint64{})

		if _, err := b.server.Allow(context.Background(), "Hall"); err != nil {
			t.Error(err)
		}
		if got := b.server.Stats().Holds; got != 0 {
			t.Errorf("%d names are held, want none", got)
		}

		kept := b.server.Stats().Outcomes
		b.restart()
		if got := b.server.Stats(); got.Outcomes != 0 || got.Registrations != 1 {
			t.Errorf("after a restart there are %d outcomes and %d registrations, want 0 and 1", got.Outcomes, got.Registrations)
		}
		b.expectCode("@id="+b.id(0)+";ttl=30 REGISTER room://192.0.2.10:90 Landing", "OK")
		if got := b.server.Stats(); got.Outcomes != kept+1 || got.Registrations != 2 {
			t.Errorf("after a transaction there are %d outcomes and %d registrations, want %d and 2", got.Outcomes, got.Registrations, kept+1)
		}
	})
}

// A hold that is over by itself is not counted any more.
func TestStatsOfHoldsThatAreOver(t *testing.T) {
	run(t, func(b *bench) {
		for name, hold := range map[foyer.Name]time.Duration{"Foyer": time.Minute, "Hall": time.Hour} {
			if _, err := b.server.Evict(context.Background(), name, hold); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []int{2, 1, 0} {
			if got := b.server.Stats().Holds; got != want {
				t.Errorf("%d names are held, want %d", got, want)
			}
			time.Sleep(45 * time.Minute * time.Duration(3-want) / 2)
		}
	})
}

// The duration of a request is that from its arrival to its reply, also if it waits
// for the disk; a store that stands still for long is a stall; leases that end are
// events.
func TestStatsOfDurations(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@x=1 REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.stall.next.Store(int64(1500 * time.Millisecond))
		if reply, _ := b.await("192.0.2.10", "@ttl=5 REGISTER room://192.0.2.10:2 Hall"); codeOf(t, reply) != "OK" {
			t.Fatal(reply)
		}
		stats := b.server.Stats()
		d, c := stats.Requests["register"].Duration, stats.CommitDuration
		for what, h := range map[string]Histogram{"requests": d, "commits": c} {
			i := slices.IndexFunc(h.Bounds, func(bound float64) bool { return bound >= 1.5 })
			if h.Counts[i] != 1 || h.Sum < 1.5 || h.Sum > 1.7 || h.Count()-h.Counts[i] != h.Counts[0] {
				t.Errorf("%s: %+v", what, h)
			}
		}
		time.Sleep(time.Minute)
		if stats = b.server.Stats(); stats.Stalls != 1 {
			t.Errorf("%d stalls, want one", stats.Stalls)
		}
		expectCounts(t, "events", stats.Events, map[string]uint64{"registered": 2, "expired": 1})
	})
}

// That the end of a lease is written now and then is no event, nor is a renewal.
func TestCheckpointsAreNoEvents(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:1 Foyer", "OK")
		before := b.server.Stats().Commits["ok"]
		time.Sleep(2 * time.Second) // a renewal in the same second need not be written
		b.expectCode("@ttl=3600 RENEW room://192.0.2.10:1 Foyer", "OK")
		time.Sleep(checkpointEvery + time.Minute)
		stats := b.server.Stats()
		if got := stats.Commits["ok"]; got != before+1 {
			t.Errorf("%d commits, want one more than %d", got, before)
		}
		expectCounts(t, "events", stats.Events, map[string]uint64{"registered": 1})
	})
}

// What is too large to be read has no verb, whatever came before in the same memory.
func TestVerbOfWhatIsTooLarge(t *testing.T) {
	var x exchange
	x.begin(&udp.Datagram{Data: []byte("DEREGISTER x")})
	x.read(1)
	x.begin(&udp.Datagram{Data: make([]byte, wire.MaxDatagram+1)})
	if got := x.request().Verb; got != 0 {
		t.Errorf("it is counted as %v", got)
	}
}

func TestHistogramBounds(t *testing.T) {
	h := new(histogram).durations()
	for i, bound := range h.Bounds {
		d := durationUnit << i
		if durationBucket(d) != i || durationBucket(d+1) != i+1 || d.Seconds() != bound {
			t.Errorf("bucket %d ends at %v s, and %v and a nanosecond more are in %d and %d", i, bound, d, durationBucket(d), durationBucket(d+1))
		}
	}
	if durationBucket(-1) != 0 || durationBucket(time.Hour) != len(h.Bounds) {
		t.Error("what is out of the bounds is not in the first bucket or the last")
	}
	g := new(histogram).export(groupBounds, 1)
	for i, bound := range g.Bounds {
		if groupBucket(int(bound)) != i || groupBucket(int(bound)+1) != i+1 {
			t.Errorf("bucket %d ends at %v", i, bound)
		}
	}
	if got := groupBucket(queueLength + udp.BatchSize); got != groupBounds {
		t.Errorf("the largest group is in bucket %d", got)
	}
}

// Datagrams that find no room are counted by what was full.
func TestStatsOfDrops(t *testing.T) {
	signed := "@id=018f4e7a-1b2c-7d3e-8f40-112233445566;key=" + publicKey(1) + ";sig=" + strings.Repeat("A", 86) + " REGISTER room://192.0.2.10:1 x"
	arrive := func(s *Server, datagram string, times int) {
		d := udp.Datagram{Data: []byte(datagram), Peer: netip.MustParseAddrPort("192.0.2.10:9")}
		intake := s.newIntake(&batchConn{batch: []udp.Datagram{d}, times: times})
		for n := 1; n > 0; {
			n, _ = intake.readBatch()
		}
	}
	for _, c := range []struct {
		name, datagram string
		room           int
		setUp          func(s *Server)
	}{
		{"source_share", "REGISTER room://192.0.2.10:1 x", sourceShare, func(*Server) {}},
		{"write_queue_full", "REGISTER room://192.0.2.10:1 x", 3, func(s *Server) { s.toWrite = make(chan *exchange, 3) }},
		{"verify_queue_full", signed, verifyQueueLength, func(*Server) {}},
	} {
		s, _ := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		c.setUp(s)
		arrive(s, c.datagram+"\nLOOKUP x", c.room+5)
		stats := s.Stats()
		expectCounts(t, c.name, stats.Dropped, map[string]uint64{c.name: 5})
		expectCounts(t, c.name, answeredAs(stats), map[string]uint64{"register busy": 5, "lookup unknown-name": 5})
		if got := stats.WriteQueue + stats.VerifyQueue; got != c.room {
			t.Errorf("%s: %d datagrams wait, want %d", c.name, got, c.room)
		}
	}

	run(t, func(b *bench) {
		b.server.signatures.of(netip.MustParseAddr("192.0.2.10")).AllowN(time.Now(), verifyBurst)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "x"), foyer.Busy)
		expectCounts(t, "signatures", b.server.Stats().Dropped, map[string]uint64{"signature_rate": 1})
	})
}

// A transaction that runs twice, or in vain, is counted as it was answered in the end.
func TestStatsOfTransactionsThatRunAgain(t *testing.T) {
	const datagram = "LOOKUP x\nREGISTER room://192.0.2.9:1 x\nLOOKUP x"
	for _, c := range []struct {
		refuses                   bool
		requests, commits, events map[string]uint64
	}{
		{false, map[string]uint64{"lookup unknown-name": 1, "register ok": 1, "lookup ok": 1}, map[string]uint64{"ok": 1}, map[string]uint64{"registered": 1}},
		{true, map[string]uint64{"lookup unknown-name": 2, "register unavailable": 1}, map[string]uint64{"unavailable": 1}, map[string]uint64{}},
	} {
		s, w := newIdleServer(&twiceStore{Store: storetest.NewModel(storetest.Sabotage{}), refuses: c.refuses})
		s.anyAddress = true
		w.intakes = []*intake{s.newIntake(&arrivedConn{arrived: []string{datagram}})}
		w.gather()
		w.commit()
		stats := s.Stats()
		expectCounts(t, "requests", answeredAs(stats), c.requests)
		expectCounts(t, "commits", stats.Commits, c.commits)
		expectCounts(t, "events", stats.Events, c.events)
	}
}

// What may or may not have happened is not answered, so no request is counted.
func TestStatsOfUncertainTransactions(t *testing.T) {
	s, w := newIdleServer(uncertainStore{storetest.NewModel(storetest.Sabotage{})})
	s.anyAddress = true
	w.intakes = []*intake{s.newIntake(&arrivedConn{arrived: []string{"REGISTER room://192.0.2.9:1 x"}})}
	w.gather()
	w.commit()
	stats := s.Stats()
	expectCounts(t, "requests", answeredAs(stats), map[string]uint64{})
	expectCounts(t, "commits", stats.Commits, map[string]uint64{"uncertain": 1})
}

type uncertainStore struct{ storage.Store }

func (s uncertainStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	if err := s.Store.Update(now, fn); err != nil {
		return err
	}
	return storage.ErrUncertain
}
