package discovery

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
	"foyer/wire"
)

func TestLeases(t *testing.T) {
	run(t, func(b *bench) {
		for asked, granted := range map[int]int{0: 5, 1: 5, 5: 5, 30: 30, 86400: 86400, 99999999999: 86400} {
			id := b.id(0)
			b.expect(fmt.Sprintf("@id=%s;ttl=%d REGISTER room://192.0.2.10:%d Lease %d", id, asked, asked%60000+1, asked),
				fmt.Sprintf("@id=%s;ttl=%d OK", id, granted))
		}
		b.expectCode("@ttl=10 REGISTER room://192.0.2.10:5000 Foyer", "OK")
		b.expect("REGISTER room://192.0.2.10:5001 Stays", "OK")
		for range 10 {
			time.Sleep(6 * time.Second)
			b.expect("@x= RENEW room://192.0.2.10:5000 Foyer", "@ttl=10 OK")
		}
		b.expect("@x= RENEW room://192.0.2.10:5001 Stays", "OK")
		b.expectCode("@x= RENEW room://192.0.2.10:5009 Foyer", foyer.Replaced)
		time.Sleep(8 * time.Second)
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:5000")
		time.Sleep(4 * time.Second)
		b.expect("LOOKUP Foyer", "NOTOK no room of that name is registered")
		b.expectCode("@x= RENEW room://192.0.2.10:5000 Foyer", foyer.UnknownName)
		b.expect("REGISTER room://192.0.2.10:5000 Hall", "OK") // the address is free, too
		b.expect("LOOKUP Stays", "OK room://192.0.2.10:5001")

		// Another ttl with the renewal.
		b.expectCode("@ttl=10 REGISTER room://192.0.2.10:5002 Inn", "OK")
		id := b.id(0)
		b.expect("@id="+id+";ttl=60 RENEW room://192.0.2.10:5002 Inn", "@id="+id+";ttl=60 OK")
		time.Sleep(50 * time.Second)
		b.expect("LOOKUP Inn", "OK room://192.0.2.10:5002")
		time.Sleep(12 * time.Second)
		b.expect("LOOKUP Inn", "NOTOK no room of that name is registered")
		if got := kinds(b, "Inn"); got != "expired registered" {
			t.Errorf("the history is %q", got)
		}
		if got := kinds(b, "Foyer"); got != "expired registered" {
			t.Errorf("the history is %q", got)
		}
	})
}

// A RENEW changes the length of a lease if its id is the latest that said how long
// it is to be, and then exactly once.
func TestRenewalsChangeLeases(t *testing.T) {
	run(t, func(b *bench) {
		renew := func(id, ttl, granted string) {
			b.t.Helper()
			b.expect("@id="+id+";ttl="+ttl+" RENEW room://192.0.2.10:1 Foyer", "@id="+id+";ttl="+granted+" OK")
		}
		late := [3]string{b.id(0)} // ids of requests that come later than those made after them
		time.Sleep(time.Second)
		b.expectCode("@id="+b.id(0)+";ttl=3600 REGISTER room://192.0.2.10:1 Foyer", "OK")
		renew(late[0], "5", "3600")
		time.Sleep(time.Second)
		late[1] = b.id(0)
		time.Sleep(time.Second)
		first := b.id(0)
		renew(first, "60", "60")
		renew(late[1], "5", "60")
		time.Sleep(time.Second)
		late[2] = b.id(0)
		time.Sleep(time.Second)
		renew(b.id(0), "60", "60") // says so as well
		renew(late[2], "5", "60")
		time.Sleep(time.Second)
		second := b.id(0)
		renew(second, "120", "120")
		renew(first, "60", "60") // a retry, which changes nothing
		b.expectCode("@id="+first+";ttl=61 RENEW room://192.0.2.10:1 Foyer", foyer.IDReused)

		// Of no use: no id, one of another version, one out of the window.
		b.expect("@ttl=5 RENEW room://192.0.2.10:1 Foyer", "@ttl=120 OK")
		renew("0192d3a1-7c44-4b1e-9c1d-0a1b2c3d4e5f", "5", "120")
		renew(b.id(6*time.Minute), "5", "120")
		renew(b.id(-6*time.Minute), "5", "120")
		time.Sleep(100 * time.Second)
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")

		// What was changed stays so, and its retries get the same answer, also
		// when the registration is gone.
		b.restart()
		renew(b.id(0), "5", "120") // what was asked before the restart is not known
		renew(second, "120", "120")
		b.expectCode("@x= DEREGISTER Foyer", "OK")
		renew(second, "120", "120")
		b.expectCode("@id="+b.id(0)+";ttl=5 RENEW room://192.0.2.10:1 Foyer", foyer.UnknownName)
	})
}

// A RENEW that says again what is granted counts also where the writer carries it out,
// as behind a line that is for it, and one behind its REGISTER changes the lease.
func TestRenewalsOfOneDatagram(t *testing.T) {
	run(t, func(b *bench) {
		early := b.id(0)
		time.Sleep(time.Second)
		b.expectCode("@id="+b.id(0)+";ttl=3600 REGISTER room://192.0.2.10:1 Foyer", "OK")
		time.Sleep(time.Second)
		held := b.id(0)
		time.Sleep(time.Second)
		b.ask("@id=" + b.id(0) + ";ttl=3600 RENEW room://192.0.2.10:2 Gone\n@id=" + b.id(0) + ";ttl=3600 RENEW room://192.0.2.10:1 Foyer")
		for _, id := range []string{early, held} {
			b.expect("@id="+id+";ttl=5 RENEW room://192.0.2.10:1 Foyer", "@id="+id+";ttl=3600 OK")
		}

		first, second := b.id(0), b.id(0)
		want := "@id=" + first + ";ttl=60 OK\n@id=" + second + ";ttl=120 OK"
		for range 2 {
			b.expect("@id="+first+";ttl=60 REGISTER room://192.0.2.10:3 Hall\n@id="+second+";ttl=120 RENEW room://192.0.2.10:3 Hall", want)
		}
	})
}

// The order of ids counts within a transaction, too.
func TestRenewalsInOneTransaction(t *testing.T) {
	run(t, func(b *bench) {
		early := b.signed(1, ";ttl=5", "RENEW room://192.0.2.10:1 Foyer")
		time.Sleep(time.Second)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		middle := b.signed(1, ";ttl=6", "RENEW room://192.0.2.10:1 Foyer")
		time.Sleep(time.Second)
		again := b.signed(1, ";ttl=40;key="+publicKey(1), "REGISTER room://192.0.2.10:1 Foyer")
		for i, reply := range strings.Split(b.ask(again+"\n"+middle+"\n"+early), "\n") {
			if r, err := wire.ParseReply([]byte(reply)); err != nil || !r.OK || r.TTL != 40 {
				t.Errorf("line %d got %q", i+1, reply)
			}
		}

		// A name that is given up and registered anew is another lease.
		held := b.signed(1, ";ttl=6", "RENEW room://192.0.2.10:1 Foyer")
		time.Sleep(time.Second)
		anew := b.signed(1, ";ttl=50;key="+publicKey(1), "REGISTER room://192.0.2.10:1 Foyer")
		replies := strings.Split(b.ask(b.signed(1, "", "DEREGISTER Foyer")+"\n"+anew+"\n"+held), "\n")
		if r, err := wire.ParseReply([]byte(replies[len(replies)-1])); len(replies) != 3 || err != nil || !r.OK || r.TTL != 50 {
			t.Errorf("got %q", replies)
		}
	})
}

// A RENEW that is as far behind the REGISTER of its name as a datagram can be long
// changes the lease like one that is next to it.
func TestRenewalFarBehindItsRegistration(t *testing.T) {
	run(t, func(b *bench) {
		first, last := b.id(0), b.id(0)
		lines := []string{"@id=" + first + ";ttl=60 REGISTER room://a:1 a"}
		end := "@id=" + last + ";ttl=120 RENEW room://a:1 a"
		for i := range (wire.MaxDatagram - len(lines[0]) - len(end) - 2) / len("REGISTER room://a:99 bb\n") {
			lines = append(lines, fmt.Sprintf("REGISTER room://a:%d b%c", 10+i, 'a'+rune(i%26)+'A'-'a'+rune(i/26*32)))
		}
		replies := strings.Split(b.ask(strings.Join(append(lines, end), "\n")), "\n")
		for i, reply := range replies[1 : len(replies)-1] {
			if reply != "OK" {
				t.Errorf("%q got %q", lines[i+1], reply)
			}
		}
		if want := "@id=" + last + ";ttl=120 OK"; len(lines) < 40 || replies[len(replies)-1] != want {
			t.Errorf("behind %d lines the RENEW got %q, want %q", len(lines), replies[len(replies)-1], want)
		}
	})
}

// A REGISTER that was not carried out, because nothing could be written or its reply
// did not fit any more, says nothing of how long the lease is to be.
func TestFailedRegistrationsChangeNoLease(t *testing.T) {
	run(t, func(b *bench) {
		again := func() string { return b.signed(1, ";ttl=30;key="+publicKey(1), "REGISTER room://192.0.2.10:1 Foyer") }
		b.expectCode(again(), "OK")
		time.Sleep(time.Second)
		older := again()
		time.Sleep(time.Second)
		short := b.signed(1, ";ttl=5", "RENEW room://192.0.2.10:1 Foyer")
		time.Sleep(time.Second)
		b.expectCode(b.signed(1, ";ttl=3600", "RENEW room://192.0.2.10:1 Foyer"), "OK")
		b.store.Fail(storetest.Refused)
		b.expectCode(older, foyer.Unavailable)
		b.expectCode(short, "OK") // as it is
		time.Sleep(10 * time.Second)
		b.expectCode("@x= LOOKUP Foyer", "OK")
	})
}

// A lease without an owner is renewed by the host that registered it and by
// nobody else.
func TestStrangersRenewNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:1 Long", "OK")
		b.expectCode("@ttl=10 REGISTER room://192.0.2.10:2 Short", "OK")
		for range 8 {
			time.Sleep(2 * time.Second)
			for _, request := range []string{
				"@id=" + b.id(0) + ";ttl=5 RENEW room://192.0.2.10:1 Long", "@id=" + b.id(0) + " RENEW room://192.0.2.10:1 Long",
				"@id=" + b.id(0) + ";ttl=86400 RENEW room://192.0.2.10:2 Short", "@id=" + b.id(0) + ";ttl=10 RENEW room://192.0.2.10:2 Short",
			} {
				if got := codeOf(t, b.askFrom("192.0.2.66", request)); got != foyer.NotOwner && got != foyer.UnknownName {
					t.Errorf("%q of a stranger got %q", request, got)
				}
			}
		}
		b.expect("LOOKUP Long", "OK room://192.0.2.10:1")
		b.expect("LOOKUP Short", "NOTOK no room of that name is registered")
	})
}

// A retry of a renewal whose id is no longer in its window, but still recorded, gets
// the answer that is.
func TestOldRetryOfARenewal(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@id="+b.id(0)+";ttl=3600 REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Hall"), "OK")
		plain, signed := "@id="+b.id(0)+";ttl=1800 RENEW room://192.0.2.10:1 Foyer", b.signed(1, ";ttl=1800", "RENEW room://192.0.2.10:2 Hall")
		replies := []string{b.ask(plain), b.ask(signed)}
		time.Sleep(idWindow + time.Minute)
		b.expect(plain, replies[0])
		b.expect(signed, replies[1])
	})
}

// A signed RENEW that somebody recorded and sends again does not shorten the lease
// that its owner has asked for since.
func TestReplaysDoNotShortenLeases(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		time.Sleep(time.Second)
		short := b.signed(1, ";ttl=5", "RENEW room://192.0.2.10:1 Foyer")
		b.expectCode(short, "OK")
		time.Sleep(time.Second)
		b.expectCode(b.signed(1, ";ttl=3600", "RENEW room://192.0.2.10:1 Foyer"), "OK")
		for range 10 {
			b.askFrom("192.0.2.66", short)
			time.Sleep(2 * time.Second)
		}
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")
	})
}

func TestLateRenewal(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=30 REGISTER room://192.0.2.10:5000 Foyer", "OK")
		time.Sleep(22 * time.Second)
		b.expectCode("@x= RENEW room://192.0.2.10:5000 Foyer", "OK")
		time.Sleep(25 * time.Second)
		b.expectCode("@x= RENEW room://192.0.2.10:5000 Foyer", "OK") // reported already
		time.Sleep(10 * time.Second)
		b.expectCode("@x= RENEW room://192.0.2.10:5000 Foyer", "OK")
		if got := kinds(b, "Foyer"); got != "renewed late registered" {
			t.Errorf("the history is %q", got)
		}
	})
}

// Time that the registry does not run does not count, however often it is
// restarted, yet a dead room with a long lease does not live for ever.
func TestLeasesAcrossRestarts(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=10 REGISTER room://192.0.2.10:1 Short", "OK")
		b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:2 Long", "OK")
		time.Sleep(9 * time.Second)
		b.stop()
		time.Sleep(100 * time.Hour)
		b.store = b.store.Reopen()
		b.start()
		time.Sleep(8 * time.Second)
		b.expect("LOOKUP Short", "OK room://192.0.2.10:1")
		b.expect("LOOKUP Long", "OK room://192.0.2.10:2")
		time.Sleep(4 * time.Second)
		b.expect("LOOKUP Short", "NOTOK no room of that name is registered")
		up := 0 * time.Minute
		for codeOf(t, b.ask("LOOKUP Long")) == "OK" {
			time.Sleep(7 * time.Minute)
			up += 7 * time.Minute
			b.restart()
			if up > 3*time.Hour {
				t.Fatal("a dead room is kept alive by restarts")
			}
		}
		if up < 55*time.Minute {
			t.Errorf("a lease of an hour ran out after %v", up)
		}
	})
}

// A long lease that is renewed survives a crash: its end is checkpointed.
func TestCheckpoints(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=1000 REGISTER room://192.0.2.10:2 Long", "OK")
		for range 20 {
			time.Sleep(300 * time.Second)
			b.expectCode("@x= RENEW room://192.0.2.10:2 Long", "OK")
		}
		time.Sleep(310 * time.Second)
		b.store = b.store.Reopen() // as kill -9: the old server cannot write any more
		b.stop()
		b.start()
		time.Sleep(500 * time.Second)
		b.expect("LOOKUP Long", "OK room://192.0.2.10:2")
		time.Sleep(1000 * time.Second)
		b.expect("LOOKUP Long", "NOTOK no room of that name is registered")
	})
}

// kill ends the server as kill -9 does, and starts another one on what the store has.
func (b *bench) kill() {
	b.store = b.store.Reopen() // the old server cannot write any more
	b.stop()
	b.start()
}

// What a renewal was answered holds, however long after the one before it came and
// whenever the registry is killed after it.
func TestRenewalsSurviveKills(t *testing.T) {
	for _, apart := range []time.Duration{time.Second, 4 * time.Minute, 301 * time.Second, 20 * time.Minute, 59 * time.Minute} {
		for _, later := range []time.Duration{time.Second, 200 * time.Second, 11 * time.Minute} {
			run(t, func(b *bench) {
				b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:1 Foyer", "OK")
				for range 3 {
					time.Sleep(apart)
					b.expectCode("@x= RENEW room://192.0.2.10:1 Foyer", "OK")
				}
				time.Sleep(later)
				b.kill()
				time.Sleep(time.Hour - later - time.Second)
				if got := codeOf(t, b.ask("LOOKUP Foyer")); got != "OK" {
					t.Errorf("renewed every %v and killed %v later: %s before the lease is over", apart, later, got)
				}
				time.Sleep(2*checkpointEvery + time.Minute) // the clock stood still for one, the end is known to the other
				if got := codeOf(t, b.ask("LOOKUP Foyer")); got == "OK" {
					t.Errorf("renewed every %v and killed %v later: the lease never ends", apart, later)
				}
			})
		}
	}
}

// A renewal that would have to be written, and cannot be, is not said to hold; but the
// lease goes on as long as the registry runs.
func TestRenewalsWhileNothingCanBeWritten(t *testing.T) {
	run(t, func(b *bench) {
		b.stop()
		down := &downStore{Store: b.store}
		b.serveOn(down)
		b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:1 Long", "OK")
		b.expectCode("@ttl=60 REGISTER room://192.0.2.10:2 Short", "OK")
		down.down.Store(true)
		for i := range 180 {
			time.Sleep(40 * time.Second)
			want := foyer.Code("OK")
			if time.Duration(i+1)*40*time.Second > checkpointEvery {
				want = foyer.Unavailable
			}
			b.expectCode("@x= RENEW room://192.0.2.10:1 Long", want)
			b.expectCode("@x= RENEW room://192.0.2.10:2 Short", "OK")
		}
		down.down.Store(false)
		time.Sleep(45 * time.Second)
		b.expectCode("@x= LOOKUP Long", "OK")
		b.expectCode("@x= LOOKUP Short", "OK")
		b.expectCode("@x= RENEW room://192.0.2.10:1 Long", "OK")
	})
}

// A downStore cannot be written while it is down.
type downStore struct {
	storage.Store
	down atomic.Bool
}

func (s *downStore) Update(now storage.Instant, fn func(storage.Tx) error) error {
	if s.down.Load() {
		return storage.Unavailable(errors.New("down"))
	}
	return s.Store.Update(now, fn)
}

func TestStallCostsNoLease(t *testing.T) {
	run(t, func(b *bench) {
		for i := range 50 {
			b.expectCode(fmt.Sprintf("@ttl=%d REGISTER room://192.0.2.10:%d Room %d", 30+i, i+1, i), "OK")
		}
		b.stall.next.Store(int64(10 * time.Hour))
		if got := b.send("192.0.2.11", "REGISTER room://192.0.2.11:1 Slow"); len(got) != 0 {
			t.Fatalf("got %q during the stall", got)
		}
		time.Sleep(10*time.Hour + 29*time.Second)
		for i := range 50 {
			if got := codeOf(t, b.ask(fmt.Sprintf("LOOKUP Room %d", i))); got != "OK" {
				t.Errorf("room %d is gone within the grace after a stall", i)
			}
		}
		time.Sleep(100 * time.Second)
		if n := b.store.Len(); n != 1 {
			t.Errorf("%d rooms are left, want Slow", n)
		}
	})
}
