package discovery

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
	"foyer/storage/storetest"
)

// limited calls fn with a bench whose hosts may have n names each.
func limited(t *testing.T, n int, fn func(b *bench)) {
	run(t, func(b *bench) {
		b.stop()
		b.names = n
		b.start()
		fn(b)
	})
}

// register returns a plain registration of a room at host.
func register(host string, n int) string {
	return fmt.Sprintf("REGISTER room://%s:%d Room %d at %s", host, n+1, n, host)
}

func TestNamesPerHost(t *testing.T) {
	const full = "NOTOK your IP address has registered as many rooms as it may"
	limited(t, 3, func(b *bench) {
		const host, other = "192.0.2.10", "192.0.2.11"
		// In one datagram, which is one transaction.
		var lines []string
		for i := range 5 {
			lines = append(lines, register(host, i))
		}
		if got := b.ask(strings.Join(lines, "\n")); got != strings.Join([]string{"OK", "OK", "OK", full, full}, "\n") {
			t.Errorf("got %q", got)
		}
		for i := range 3 {
			if got := b.askFrom(other, register(other, i)); got != "OK" {
				t.Errorf("another host gets %q", got)
			}
		}
		for i := range 10 {
			if got := b.askFrom("127.0.0.1", register("127.0.0.1", i)); got != "OK" {
				t.Errorf("loopback gets %q", got)
			}
		}
		// The refusal is no outcome: the same bytes succeed when there is room.
		fourth := "@id=" + b.id(0) + " " + register(host, 3)
		b.expectCode(fourth, foyer.Busy)
		b.restart() // what is there is counted anew
		b.expectCode(fourth, foyer.Busy)
		b.expect("DEREGISTER Room 0 at "+host, "OK")
		b.expectCode(fourth, "OK")
		b.expect(register(host, 4), full)
		// A name given up and another one taken within one transaction.
		if got := b.ask("DEREGISTER Room 1 at " + host + "\n" + register(host, 4) + "\n" + register(host, 5)); got != "OK\nOK\n"+full {
			t.Errorf("got %q", got)
		}
		// Expiry frees, and so does the operator.
		b.expect("DEREGISTER Room 4 at "+host, "OK")
		b.expectCode("@ttl=5 "+register(host, 6), "OK")
		b.expect(register(host, 7), full)
		time.Sleep(8 * time.Second)
		b.expect(register(host, 7), "OK")
		b.expect(register(host, 8), full)
		if _, err := b.server.Evict(b.t.Context(), foyer.Name("Room 7 at "+host), 0); err != nil {
			t.Fatal(err)
		}
		b.expect(register(host, 8), "OK")

		// A name that its owner takes elsewhere counts there.
		b.expectCode(b.registerSigned(1, "room://"+other+":9", "Moves"), foyer.ForeignAddress)
		if got := codeOf(t, b.askFrom(other, b.registerSigned(1, "room://"+other+":9", "Moves"))); got != foyer.Busy {
			t.Errorf("got %s", got)
		}
		b.expect("DEREGISTER Room 8 at "+host, "OK")
		b.expectCode(b.registerSigned(1, "room://"+host+":9", "Moves"), "OK")
		b.expectCode(b.registerSigned(1, "room://"+host+":10", "Moves"), "OK") // it is there already
		if got := codeOf(t, b.askFrom(other, b.registerSigned(1, "room://"+other+":9", "Moves"))); got != foyer.Busy {
			t.Errorf("it moves to a host that is full: %s", got)
		}
		b.askFrom(other, "DEREGISTER Room 0 at "+other)
		if got := codeOf(t, b.askFrom(other, b.registerSigned(1, "room://"+other+":9", "Moves"))); got != "OK" {
			t.Errorf("it moves: %s", got)
		}
		b.expect(register(host, 8), "OK")
	})
}

// spend has a host send requests with ids of their own until one is refused as
// busy, and returns how many were not.
func spend(b *bench, host string, most int) (recorded int) {
	b.t.Helper()
	for recorded < most {
		var lines []string
		for range 10 {
			lines = append(lines, "@id="+b.id(0)+" DEREGISTER x")
		}
		for line := range strings.SplitSeq(strings.Join(b.send(host, strings.Join(lines, "\n")), "\n"), "\n") {
			switch code := codeOf(b.t, line); code {
			case foyer.UnknownName:
				recorded++
			case foyer.Busy:
				return recorded
			default:
				b.t.Fatalf("got %s", code)
			}
		}
	}
	return recorded
}

// What a host has the registry remember is bounded. Whatever needs no record
// goes on, and so do all others.
func TestOutcomesPerHost(t *testing.T) {
	limited(t, 10, func(b *bench) {
		const host, burst = "192.0.2.10", outcomesPerName * minOutcomeNames
		first := "@id=" + b.id(0) + ";ttl=60 REGISTER room://192.0.2.10:1 Foyer"
		b.expectCode(first, "OK")
		reply := b.ask(first)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Owned"), "OK")
		began := time.Now()
		got := spend(b, host, 2*burst)
		refilled := int(time.Since(began).Seconds() * burst / storage.OutcomeRetention.Seconds())
		if got < burst-2 || got > burst-2+refilled+1 {
			t.Errorf("%d outcomes were recorded, want %d and at most %d more", got, burst-2, refilled)
		}
		again := "@id=" + b.id(0) + " DEREGISTER x"
		if got := b.ask(again); !strings.Contains(got, ";code=busy NOTOK your IP address has changed too much in the last minutes") {
			t.Errorf("got %q", got)
		}
		b.expect(first, reply)
		b.expectCode("@x= RENEW room://192.0.2.10:1 Foyer", "OK")
		b.expect("REGISTER room://192.0.2.10:3 Plain", "OK")
		b.expect("DEREGISTER Plain", "OK")
		for _, other := range []string{"192.0.2.11", "127.0.0.1"} {
			if n := spend(b, other, 100); n < 100 {
				t.Errorf("%s: %d requests were recorded", other, n)
			}
		}
		if n := spend(b, "127.0.0.1", burst+100); n < burst+100 {
			t.Errorf("loopback: %d requests were recorded", n)
		}
		time.Sleep(storage.OutcomeRetention / burst) // for one more
		b.expectCode(again, foyer.UnknownName)
		b.expectCode("LOOKUP Foyer", "OK")

		// An owner whose key is authorized has room beside what the host has used up.
		spend(b, host, burst)
		b.expectCode(b.signed(1, "", "DEREGISTER Owned"), foyer.Busy)
		b.server.AuthorizeOnly([]foyer.Key{foyer.Key(privateKey(1).Public().(ed25519.PublicKey))})
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:4", "Owned"), "OK")
		b.expectCode(b.signed(1, "", "DEREGISTER Owned"), "OK")
		spend(b, host, burst)
		b.expectCode(b.signed(2, "", "DEREGISTER Foyer"), foyer.Busy) // with a key that is not
	})
}

// Registrations without an id are written as well: a host that registers and
// deregisters without end is bounded, and what it has can still be ended.
func TestPlainRegistrationsPerHost(t *testing.T) {
	limited(t, 10, func(b *bench) {
		const host, burst = "192.0.2.10", outcomesPerName * minOutcomeNames
		b.expect("REGISTER room://192.0.2.10:9 Stays", "OK")
		pair := strings.TrimSuffix(strings.Repeat("REGISTER room://192.0.2.10:1 x\nDEREGISTER x\n", 4), "\n")
		began, granted := time.Now(), 1
		for range burst/4 + 20 {
			for _, replies := range b.send(host, pair) {
				granted += strings.Count(replies, "OK\nOK") // both of a pair
			}
		}
		refilled := int(time.Since(began).Seconds() * burst / storage.OutcomeRetention.Seconds())
		if granted < burst || granted > burst+refilled+1 {
			t.Errorf("%d were registered, want %d and at most %d more", granted, burst, refilled)
		}
		if got := b.ask("REGISTER room://192.0.2.10:2 y"); !strings.HasPrefix(got, "NOTOK your IP address has changed too much") {
			t.Errorf("got %q", got)
		}
		b.expect("DEREGISTER Stays", "OK")
		b.expectCode("@id="+b.id(0)+" REGISTER room://192.0.2.10:3 z", "OK") // that is another bound
		if got := b.askFrom("192.0.2.11", "REGISTER room://192.0.2.11:1 Other"); got != "OK" {
			t.Errorf("another host gets %q", got)
		}
	})
}

// When there is no room for outcomes, those who would need some are refused
// alone; trusted owners have a reserve. Old outcomes make room even if nothing
// but what is refused is asked for.
func TestOutcomesInAll(t *testing.T) {
	run(t, func(b *bench) {
		q := b.server.quota
		q.mostOutcomes, q.reservedOutcomes = 20, 5
		retried := "@id=" + b.id(0) + ";ttl=60 REGISTER room://192.0.2.10:1 Foyer"
		reply := b.ask(retried)
		if n := spend(b, "192.0.2.11", 100); n != 14 {
			t.Errorf("%d outcomes were recorded, want 14 and one", n)
		}
		refused := "@id=" + b.id(0) + " DEREGISTER x"
		// All of these are one group.
		plain := "REGISTER room://192.0.2.10:2 Plain"
		if got := codesOf(t, b.ask(refused+"\n"+retried+"\n@x= "+plain+"\n@x= RENEW room://192.0.2.10:1 Foyer\n"+refused)); got != "[busy OK OK OK busy]" {
			t.Errorf("got %s", got)
		}
		if got := b.ask(refused); !strings.Contains(got, "NOTOK the registry remembers as many requests as it may") {
			t.Errorf("got %q", got)
		}
		b.expect(retried, reply)
		b.server.AuthorizeOnly([]foyer.Key{foyer.Key(privateKey(1).Public().(ed25519.PublicKey))})
		for i := range 5 {
			b.expectCode(b.registerSigned(1, fmt.Sprintf("room://192.0.2.10:%d", 10+i), fmt.Sprint("Owned ", i)), "OK")
		}
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:20", "Owned"), foyer.Busy)
		b.expectCode("@x= RENEW room://192.0.2.10:1 Foyer", "OK")
		b.expect("DEREGISTER Plain", "OK")
		b.expect(retried, reply)
		time.Sleep(2 * time.Minute)
		b.expectCode("LOOKUP Foyer", "") // it has expired
		time.Sleep(storage.OutcomeRetention)
		id := "@id=" + b.id(0) + " DEREGISTER x"
		b.ask(id) // may come too early, but leads to room
		b.expectCode(id, foyer.UnknownName)
	})
}

func TestNamesInAll(t *testing.T) {
	run(t, func(b *bench) {
		q := b.server.quota
		q.mostNames, q.reservedNames = 8, 2
		for i := range 5 {
			b.expect(register("192.0.2.10", i), "OK")
		}
		if got := b.ask(register("192.0.2.10", 5) + "\n" + register("192.0.2.10", 6)); got != "OK\nNOTOK the registry has as many rooms as it may; try again later" {
			t.Errorf("got %q", got)
		}
		b.expectCode("@id="+b.id(0)+" "+register("192.0.2.10", 6), foyer.Busy)
		b.server.AuthorizeOnly([]foyer.Key{foyer.Key(privateKey(1).Public().(ed25519.PublicKey))})
		for i := range 2 {
			b.expectCode(b.registerSigned(1, fmt.Sprintf("room://192.0.2.10:%d", 10+i), fmt.Sprint("Owned ", i)), "OK")
		}
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:12", "Owned 2"), foyer.Busy)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:12", "Owned 1"), "OK") // it moves
		b.server.AuthorizeOnly(nil)
		for i := range 3 {
			b.expect(fmt.Sprintf("DEREGISTER Room %d at 192.0.2.10", i), "OK")
		}
		b.expect(register("192.0.2.10", 7), "OK")
		b.expectCode("@x= "+register("192.0.2.10", 8), foyer.Busy)
	})
}

// However names come, move and end, and whatever transactions fail, each host's
// names are counted as the store has them.
func TestNamesAreCounted(t *testing.T) {
	s := testenv.Seed(t)
	run(t, func(b *bench) {
		r := rand.New(rand.NewPCG(s, 0))
		hosts := []string{"192.0.2.10", "192.0.2.11", "192.0.2.12", "127.0.0.1"}
		check := func(step int) {
			t.Helper()
			want := map[netip.Addr]int{}
			for reg, err := range storage.All(b.store, DumpPage) {
				if err != nil {
					t.Fatal(err)
				}
				if !reg.From.IsLoopback() {
					want[reg.From]++
				}
			}
			b.stop()
			if got := b.server.quota.names; !maps.Equal(got, want) {
				t.Errorf("step %d: %v are counted, there are %v", step, got, want)
			}
			b.start()
		}
		for step := range 2000 {
			host := hosts[r.IntN(len(hosts))]
			var lines []string
			for range 1 + r.IntN(5) {
				name, at := fmt.Sprint("Room ", r.IntN(4)), fmt.Sprintf("room://%s:%d", host, 1+r.IntN(8))
				key := byte(1 + r.IntN(2))
				switch r.IntN(5) {
				case 0:
					lines = append(lines, "@id="+b.id(0)+";ttl=5 REGISTER "+at+" "+name)
				case 1:
					lines = append(lines, b.registerSigned(key, at, name))
				case 2:
					lines = append(lines, b.signed(key, "", "DEREGISTER "+name))
				case 3:
					lines = append(lines, "@id="+b.id(0)+" DEREGISTER "+name)
				case 4:
					lines = append(lines, "@ttl=9 RENEW "+at+" "+name)
				}
			}
			switch r.IntN(6) {
			case 0:
				b.store.Fail([]storetest.Fault{storetest.Refused, storetest.Lost, storetest.Kept}[r.IntN(3)])
			case 1:
				time.Sleep(time.Duration(r.IntN(8)) * time.Second)
			case 2:
				_, _ = b.server.Evict(b.t.Context(), foyer.Name(fmt.Sprint("Room ", r.IntN(8))), 0)
			case 3:
				b.restart()
			}
			b.send(host, strings.Join(lines, "\n"))
			if step%10 == 9 {
				time.Sleep(time.Second) // what was in doubt is settled
				check(step)
			}
		}
	})
}
