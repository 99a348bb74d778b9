package discovery

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/storage/storetest"
	"foyer/wire"
)

func TestPlainDialect(t *testing.T) {
	run(t, func(b *bench) {
		for _, c := range []struct{ request, reply string }{
			{"LOOKUP Foyer", "NOTOK no room of that name is registered"},
			{"REGISTER room://192.0.2.10:5000 Foyer", "OK"},
			{"LOOKUP Foyer", "OK room://192.0.2.10:5000"},
			{"lookup Foyer\n", "OK room://192.0.2.10:5000"},
			{"LOOKUP Foyer\r\n", "OK room://192.0.2.10:5000"},
			{"LOOKUP foyer", "NOTOK no room of that name is registered"},
			{"REGISTER room://192.0.2.10:5000 Foyer", `NOTOK name "Foyer" is already registered`},
			{"REGISTER room://192.0.2.10:5001 Foyer", `NOTOK name "Foyer" is already registered`},
			{"REGISTER room://192.0.2.10:5000 Hall", "NOTOK address room://192.0.2.10:5000 is already registered"},
			{"REGISTER ROOM://[::ffff:192.0.2.10]:05000 Hall", "NOTOK address room://192.0.2.10:5000 is already registered"},
			{"register room://Inn.Example:5001 Great Hall", "OK"},
			{"LOOKUP Great Hall", "OK room://inn.example:5001"},
			{"LOOKUP Great  Hall", "NOTOK the name has two spaces in a row"},
			{"DEREGISTER Hall", "NOTOK no room of that name is registered"},
			{"deregister Foyer", "OK"},
			{"DEREGISTER Foyer", "NOTOK no room of that name is registered"},
			{"REGISTER room://192.0.2.10:5000 Hall", "OK"},
			{"REGISTER room://192.0.2.10:70000 X", "NOTOK the port is not a number from 1 to 65535"},
			{"REGISTER 127.0.0.1:5000 X", "NOTOK the address does not begin with room://"},
			{"REGISTER room://192.0.2.10:5002 a\tb", "NOTOK the name has a character that names may not have"},
			{"REGISTER", "NOTOK the address is missing"},
			{"REGISTER room://192.0.2.10:5002", "NOTOK the name is missing"},
			{"PING", `NOTOK unknown request "PING"`},
			{" ", "NOTOK the line is empty"},
			{"LOOKUP " + strings.Repeat("x", 300), "NOTOK the name is longer than 255 bytes"},
			{"\x00\x01\x02", `NOTOK unknown request "\x00\x01\x02"`},
			{strings.Repeat("x", wire.MaxDatagram+1), "NOTOK the request is longer than 1232 bytes"},
		} {
			b.expect(c.request, c.reply)
		}
		for _, empty := range []string{"", "\n", "\r\n\n"} {
			if got := b.send("192.0.2.10", empty); len(got) != 0 {
				b.t.Errorf("%q got %q, want no reply", empty, got)
			}
		}
	})
}

func TestTags(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id(0)
		b.expect("@id="+id+" REGISTER room://192.0.2.10:5000 Foyer", "@id="+id+" OK")
		b.expect("@id="+id+" LOOKUP Foyer", "@id="+id+";ttl=30 OK room://192.0.2.10:5000")
		b.expect("@unknown=1 LOOKUP Foyer", "@ttl=30 OK room://192.0.2.10:5000")
		id = strings.ToUpper(b.id(0))
		b.expect("@id="+id+";ttl=5 REGISTER room://192.0.2.10:5001 Hall", "@id="+id+";ttl=5 OK")
		b.expect("@id="+id+" LOOKUP Hall", "@id="+id+";ttl=5 OK room://192.0.2.10:5001")
		id = b.id(0)
		b.expect("@id="+id+" REGISTER room://192.0.2.10:5001 Foyer", "@id="+id+`;code=name-taken NOTOK name "Foyer" is already registered`)
		for _, c := range []struct {
			request string
			code    foyer.Code
		}{
			{"@id=" + b.id(0) + " REGISTER room://192.0.2.10:5001 Inn", foyer.AddressTaken},
			{"@id=" + b.id(0) + " REGISTER room://192.0.2.10:0 Inn", foyer.BadAddress},
			{"@id=" + b.id(0) + " REGISTER room://192.0.2.10:5002 a\x01", foyer.BadName},
			{"@id=" + b.id(0) + " DEREGISTER Inn", foyer.UnknownName},
			{"@id=" + b.id(0) + " RENEW room://192.0.2.10:5002 Inn", foyer.UnknownName},
			{"@id=" + b.id(0) + " SHOUT Inn", foyer.UnknownVerb},
			{"@id=" + b.id(0) + " LOOKUP", foyer.Malformed},
			{"@id=" + b.id(0) + ";a=1;a=1 LOOKUP x", foyer.Malformed},
			{"@id=" + b.id(0) + ";sig=x;a=1 LOOKUP x", foyer.Malformed},
			{"@id=" + b.id(0) + " LOOKUP " + strings.Repeat("x", wire.MaxDatagram), foyer.TooLarge},
			{"@id=" + b.id(-6*time.Minute) + " REGISTER room://192.0.2.10:5003 Inn", foyer.StaleRequest},
			{"@id=" + b.id(6*time.Minute) + " DEREGISTER Foyer", foyer.StaleRequest},
			{"@id=" + b.id(-6*time.Minute) + " LOOKUP Foyer", "OK"},
			{"@id=6ba7b810-9dad-41d1-80b4-00c04fd430c8 REGISTER room://192.0.2.10:5003 Inn", "OK"}, // version 4
		} {
			b.expectCode(c.request, c.code)
			if reply, _ := wire.ParseReply([]byte(b.ask(c.request))); len(reply.ID) != 36 {
				t.Errorf("the reply to %q has no id", c.request)
			}
		}
	})
}

func TestExactlyOnce(t *testing.T) {
	run(t, func(b *bench) {
		register := "@id=" + b.id(0) + ";ttl=3600 REGISTER room://192.0.2.10:5000 Foyer"
		refused := "@id=" + b.id(0) + " REGISTER room://192.0.2.10:5000 Hall"
		deregister := "@id=" + b.id(0) + " DEREGISTER Foyer"
		first := []string{b.ask(register), b.ask(refused), b.ask(deregister)}
		if codeOf(t, first[0]) != "OK" || codeOf(t, first[1]) != foyer.AddressTaken || codeOf(t, first[2]) != "OK" {
			t.Fatalf("got %q", first)
		}
		b.expect("REGISTER room://192.0.2.10:5009 Foyer", "OK") // somebody else
		for range 3 {
			for i, request := range []string{register, refused, deregister} {
				b.expect(request, first[i])
			}
			b.restart()
		}
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:5009")

		b.expectCode(strings.Replace(register, "Foyer", "Other", 1), foyer.IDReused)
		b.expectCode(strings.Replace(register, "REGISTER room://192.0.2.10:5000", "DEREGISTER", 1), foyer.IDReused)

		// Recorded outcomes are found for ten minutes, and by then their ids are
		// too old to take effect.
		for range 9 {
			time.Sleep(time.Minute)
			b.expect(deregister, first[2])
		}
		time.Sleep(5 * time.Minute)
		b.expect("REGISTER room://192.0.2.10:5010 Inn", "OK")
		for i, request := range []string{register, refused, deregister} {
			if got := b.ask(request); got != first[i] && codeOf(t, got) != foyer.StaleRequest {
				t.Errorf("%q got %q after 14 minutes", request, got)
			}
		}
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:5009")
	})
}

// A refusal for an id that is ahead is an outcome as well: its retry must not
// take effect when the time has come.
func TestAheadStaysRefused(t *testing.T) {
	run(t, func(b *bench) {
		ahead := "@id=" + b.id(6*time.Minute) + " REGISTER room://192.0.2.10:5000 Foyer"
		first := b.ask(ahead)
		reply, _ := wire.ParseReply([]byte(first))
		if now := time.UnixMilli(int64(reply.Now)); time.Until(now).Abs() > 2*time.Second {
			t.Errorf("the refusal's time is %v off", time.Until(now))
		}
		time.Sleep(3 * time.Minute)
		b.expect(ahead, first)
		b.expect("LOOKUP Foyer", "NOTOK no room of that name is registered")
	})
}

// Clocks that jump must neither let an id that was too old take effect nor lose
// what a retry is told.
func TestClockJumps(t *testing.T) {
	run(t, func(b *bench) {
		old := "@id=" + b.id(-6*time.Minute) + " REGISTER room://192.0.2.10:5000 Old"
		b.expectCode(old, foyer.StaleRequest)
		register := "@id=" + b.id(0) + ";ttl=60 REGISTER room://192.0.2.10:5001 Foyer"
		first := b.ask(register)
		b.skew.Store(int64(-time.Hour))
		b.expectCode(old, foyer.StaleRequest)
		b.restart()
		b.expectCode(old, foyer.StaleRequest)
		b.skew.Store(int64(24 * time.Hour))
		b.expect(register, first)
		b.expectCode("@id="+b.id(0)+" DEREGISTER Foyer", foyer.StaleRequest)
		b.expectCode("@id="+b.id(24*time.Hour)+" LOOKUP Foyer", "OK")
		b.expectCode("@id="+b.id(24*time.Hour)+" DEREGISTER Foyer", "OK")
	})
}

func TestOwnership(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")
		for _, c := range []struct {
			request string
			code    foyer.Code
		}{
			{"@id=" + b.id(0) + " REGISTER room://192.0.2.10:2 Foyer", foyer.NameTaken},
			{b.registerSigned(2, "room://192.0.2.10:2", "Foyer"), foyer.NotOwner},
			{"@id=" + b.id(0) + ";key=" + publicKey(1) + " REGISTER room://192.0.2.10:2 Foyer", foyer.BadSignature},
			{string(wire.Sign([]byte("@id="+b.id(0)+";key="+publicKey(1)+" REGISTER room://192.0.2.10:2 Foyer"), privateKey(2))), foyer.BadSignature},
			{b.signed(1, "", "REGISTER room://192.0.2.10:2 Foyer"), foyer.Malformed},
			{b.signed(1, ";key=AAAA", "REGISTER room://192.0.2.10:2 Foyer"), foyer.Malformed},
			{string(wire.Sign([]byte("@key="+publicKey(1)+" REGISTER room://192.0.2.10:2 Foyer"), privateKey(1))), foyer.Malformed},
			{string(wire.Sign([]byte("@id=6ba7b810-9dad-41d1-80b4-00c04fd430c8 DEREGISTER Foyer"), privateKey(1))), foyer.Malformed},
			{"@id=" + b.id(0) + " DEREGISTER Foyer", foyer.NotOwner},
			{b.signed(2, "", "DEREGISTER Foyer"), foyer.BadSignature},
			{b.signed(2, "", "RENEW room://192.0.2.10:1 Foyer"), foyer.BadSignature},
			{"@id=" + b.id(0) + " RENEW room://192.0.2.10:1 Foyer", foyer.NotOwner},
			{b.signed(1, "", "RENEW room://192.0.2.10:1 Foyer"), "OK"},
			{string(wire.Sign([]byte("@id="+b.id(-6*time.Minute)+" RENEW room://192.0.2.10:1 Foyer"), privateKey(1))), foyer.StaleRequest},
			{b.registerSigned(3, "room://192.0.2.10:1", "Hall"), foyer.AddressTaken},
		} {
			b.expectCode(c.request, c.code)
		}
		b.expect("DEREGISTER Foyer", "NOTOK the name has an owner: the request must be signed with the owner's key")
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")

		// The owner comes back on another port; the old room learns of it.
		moved := b.registerSigned(1, "room://192.0.2.10:9", "Foyer")
		first := b.ask(moved)
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:9")
		b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:1 Foyer"), foyer.Replaced)
		b.expect(moved, first)
		b.expect("REGISTER room://192.0.2.10:1 Old port", "OK") // is free
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), foyer.AddressTaken)

		// A key takes no name that has none, and holds it while it is registered only.
		b.expect("REGISTER room://192.0.2.10:3 Plain", "OK")
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:4", "Plain"), foyer.NameTaken)
		b.expectCode(b.signed(1, "", "DEREGISTER Foyer"), "OK")
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:9", "Foyer"), "OK")
		if got := kinds(b, "Foyer"); got != "registered deregistered replaced registered" {
			t.Errorf("the history is %q", got)
		}
	})
}

func TestDeregisterFromElsewhere(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:1 Foyer", "OK")
		if got := b.askFrom("192.0.2.11", "DEREGISTER Foyer"); got != "NOTOK the name was registered from another IP address" {
			t.Errorf("got %q", got)
		}
		b.expect("DEREGISTER Foyer", "OK")
	})
}

func TestAuthorizedKeys(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:1 Before", "OK")
		b.server.AuthorizeOnly([]foyer.Key{foyer.Key(privateKey(1).Public().(ed25519.PublicKey))})
		b.expect("REGISTER room://192.0.2.10:2 Foyer", "NOTOK this registry takes registrations from authorized keys only")
		b.expectCode(b.registerSigned(2, "room://192.0.2.10:2", "Foyer"), foyer.Unauthorized)
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:2", "Foyer"), "OK")
		b.expect("LOOKUP Before", "OK room://192.0.2.10:1")
		b.expect("DEREGISTER Before", "OK")
		b.server.AuthorizeOnly(nil)
		b.expect("REGISTER room://192.0.2.10:1 Before", "OK")
	})
}

func TestSeveralLines(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:1 A\nLOOKUP A\r\n\nREGISTER room://192.0.2.10:2 A\nDEREGISTER A\nLOOKUP A\nNONSENSE\n",
			"OK\nOK room://192.0.2.10:1\n"+`NOTOK name "A" is already registered`+"\nOK\nNOTOK no room of that name is registered\nNOTOK unknown request \"NONSENSE\"")

		// A signed line in the middle does not change the order.
		lines := []string{"LOOKUP Foyer", b.registerSigned(1, "room://192.0.2.10:5", "Foyer"), "LOOKUP Foyer", b.signed(1, "", "DEREGISTER Foyer"), "LOOKUP Foyer"}
		var got []foyer.Code
		for line := range strings.SplitSeq(b.ask(strings.Join(lines, "\n")), "\n") {
			got = append(got, codeOf(t, line))
		}
		if fmt.Sprint(got) != "[ OK OK OK ]" {
			t.Errorf("got %q", got)
		}

		// What no longer fits is neither carried out nor answered.
		var many []string
		for i := range 200 {
			many = append(many, fmt.Sprintf("LOOKUP %d", i%10))
		}
		checkBudget(b, strings.Join(many, "\n"))
		many = many[:0]
		for i := range 30 {
			many = append(many, fmt.Sprintf("DEREGISTER %d", i))
		}
		checkBudget(b, strings.Join(many, "\n"))
		many = many[:0]
		for i := range 30 {
			many = append(many, fmt.Sprintf("REGISTER room://192.0.2.10:1%02d Lots %d", i+1, i))
		}
		if answered := checkBudget(b, strings.Join(many, "\n")); answered != 30 || b.store.Len() != 30 {
			t.Errorf("%d of 30 registrations answered, %d done", answered, b.store.Len())
		}
		many = many[:0]
		for i := range 100 {
			many = append(many, fmt.Sprintf("x%d", i))
		}
		checkBudget(b, strings.Join(many, "\n"))
		long := strings.Repeat("é", 100)
		b.expect("REGISTER room://192.0.2.10:301 "+long, "OK")
		checkBudget(b, "REGISTER room://192.0.2.10:302 "+long+"\nREGISTER room://192.0.2.10:302 "+long+"\nREGISTER room://192.0.2.10:302 "+long)
	})
}

// checkBudget sends a datagram, checks sizes and returns how many lines were
// answered.
func checkBudget(b *bench, datagram string) (answered int) {
	b.t.Helper()
	sent := 0
	for _, reply := range b.send("192.0.2.10", datagram) {
		if len(reply) > wire.MaxDatagram {
			b.t.Errorf("a reply of %d bytes", len(reply))
		}
		sent += len(reply) + wire.HeaderSize
		answered += strings.Count(reply, "\n") + 1
	}
	if limit := 3 * (len(datagram) + wire.HeaderSize); sent > limit {
		b.t.Errorf("%d bytes in answer to %d: more than %d", sent, len(datagram), limit)
	}
	if answered == 0 {
		b.t.Errorf("no line of %q was answered", datagram)
	}
	return answered
}

func TestStorageFaults(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.store.Fail(storetest.Refused, storetest.Lost, storetest.None, storetest.Kept) // None: the transaction that finds out
		request := "@id=" + b.id(0) + " REGISTER room://192.0.2.10:2 Hall\nLOOKUP Foyer"
		got := strings.Split(b.ask(request), "\n")
		if len(got) != 2 || codeOf(t, got[0]) != foyer.Unavailable || got[1] != "OK room://192.0.2.10:1" {
			t.Errorf("got %q", got)
		}
		if b.server.Healthy() {
			t.Error("healthy while the store fails")
		}
		if got := b.send("192.0.2.10", request); len(got) != 0 { // lost: nobody knows
			t.Errorf("got %q for an uncertain outcome", got)
		}
		if got := b.send("192.0.2.10", request); len(got) != 0 { // kept
			t.Errorf("got %q for an uncertain outcome", got)
		}
		b.expectCode("LOOKUP Hall", "OK")
		got = strings.Split(b.ask(request), "\n")
		if codeOf(t, got[0]) != "OK" {
			t.Errorf("the retry got %q", got)
		}
		b.expect("REGISTER room://192.0.2.10:3 Inn", "OK")
		if !b.server.Healthy() {
			t.Error("not healthy again")
		}
	})
}

// A lease whose end cannot be written goes on until it can.
func TestExpiryOnFailingStore(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode("@ttl=5 REGISTER room://192.0.2.10:1 Foyer", "OK")
		for range 10 {
			b.store.Fail(storetest.Refused)
		}
		time.Sleep(10 * time.Second)
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")
		b.expectCode("@x= RENEW room://192.0.2.10:1 Foyer", "OK")
		time.Sleep(30 * time.Second)
		b.expect("LOOKUP Foyer", "NOTOK no room of that name is registered")
	})
}

func TestEvict(t *testing.T) {
	run(t, func(b *bench) {
		b.expectCode(b.registerSigned(1, "room://192.0.2.10:1", "Foyer"), "OK")
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 0); err != nil {
			t.Error(err)
		}
		if _, err := b.server.Evict(b.t.Context(), "Foyer", 0); !errors.Is(err, foyer.ErrUnknownName) {
			t.Error(err)
		}
		b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:1 Foyer"), foyer.UnknownName)
		if got := kinds(b, "Foyer"); got != "evicted registered" {
			t.Errorf("the history is %q", got)
		}
	})
}

func TestStopAnswersWhatItHas(t *testing.T) {
	run(t, func(b *bench) {
		var lines []string
		for i := range 20 {
			lines = append(lines, fmt.Sprintf("REGISTER room://192.0.2.20:%d Room %d", i+1, i))
		}
		c, err := b.net.Listen(netip.MustParseAddrPort("192.0.2.20:1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			_, _ = c.WriteToUDPAddrPort([]byte(l), registryAddr)
		}
		synctest.Wait()
		b.stop()
		defer b.start() // for run to stop
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		buf := make([]byte, 2048)
		for range lines {
			if n, _, err := c.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "OK" {
				t.Fatalf("got %q, %v", buf[:n], err)
			}
		}
	})
}

// Two registries that are set upon each other by a forged source do not answer
// each other's answers.
func TestRepliesAreNotAnswered(t *testing.T) {
	run(t, func(b *bench) {
		for _, reply := range []string{
			"OK", "OK room://192.0.2.10:1", "NOTOK no", "@code=malformed NOTOK no", "@id=" + b.id(0) + ";ttl=3 OK", "NOTOK a\nOK\nNOTOK b",
		} {
			if got := b.send("192.0.2.10", reply); len(got) != 0 {
				t.Errorf("%q was answered: %q", reply, got)
			}
		}
		b.expect("ok", `NOTOK unknown request "ok"`)
	})
}

// A retry, a refusal without an id and a look-up cost no transaction.
func TestNothingChangedIsNotWritten(t *testing.T) {
	run(t, func(b *bench) {
		register := "@id=" + b.id(0) + " REGISTER room://192.0.2.10:1 Foyer"
		first := b.ask(register)
		b.store.Fail(storetest.Refused) // the next transaction that is written
		b.expect(register, first)
		b.expect("REGISTER room://192.0.2.10:1 Hall", "NOTOK address room://192.0.2.10:1 is already registered")
		b.expect("DEREGISTER Hall\nLOOKUP Foyer", "NOTOK no room of that name is registered\nOK room://192.0.2.10:1")
		b.expectCode("@x= DEREGISTER Foyer", foyer.Unavailable)
	})
}

// Ping tells a writer that works from one that is stuck.
func TestPing(t *testing.T) {
	run(t, func(b *bench) {
		if err := b.server.Ping(b.t.Context()); err != nil {
			t.Errorf("a writer with nothing to do: %v", err)
		}
		b.stall.next.Store(int64(time.Minute))
		b.send("192.0.2.10", "@id="+b.id(0)+" REGISTER room://192.0.2.10:1 Foyer")
		ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
		defer cancel()
		if err := b.server.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a writer that waits for its disk: %v", err)
		}
		if err := b.server.Ping(b.t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		b.stop()
		if err := b.server.Ping(b.t.Context()); err == nil {
			t.Error("a server that has stopped answers")
		}
		b.stop = func() {}
	})
}
