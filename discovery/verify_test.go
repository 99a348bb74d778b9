package discovery

import (
	"fmt"
	"strings"
	"testing"

	"foyer"
	"foyer/wire"
)

// codesOf returns the codes of the lines of a reply.
func codesOf(t *testing.T, reply string) string {
	t.Helper()
	var codes []foyer.Code
	for line := range strings.SplitSeq(reply, "\n") {
		codes = append(codes, codeOf(t, line))
	}
	return fmt.Sprint(codes)
}

// The writer checks no signature, so that nobody gets more checked than the
// limits of the verifiers allow. Where a name changes hands within a datagram
// the answer is busy, once: the retry finds it as the first try has left it.
func TestTheWriterChecksNoSignature(t *testing.T) {
	run(t, func(b *bench) {
		forged := func(port int, name string) string {
			line := b.registerSigned(1, fmt.Sprintf("room://192.0.2.10:%d", port), name)
			return strings.Replace(line, "ttl=30", "ttl=31", 1)
		}
		genuine := b.registerSigned(1, "room://192.0.2.10:2", "Foyer")

		// Forgeries behind a line that gives the name away.
		b.expect("REGISTER room://192.0.2.10:1 Foyer", "OK")
		if got := codesOf(t, b.ask("DEREGISTER Foyer\n"+forged(2, "Foyer")+"\n"+forged(3, "Foyer"))); got != "[OK busy busy]" {
			t.Errorf("got %s", got)
		}
		b.expectCode("LOOKUP Foyer", "")

		// It is the same for a true signature, and the retry succeeds.
		b.expect("REGISTER room://192.0.2.10:1 Foyer", "OK")
		leave := "@id=" + b.id(0) + " DEREGISTER Foyer"
		if got := codesOf(t, b.ask(leave+"\n"+genuine)); got != "[OK busy]" {
			t.Errorf("got %s", got)
		}
		if got := codesOf(t, b.ask(leave+"\n"+genuine)); got != "[OK OK]" {
			t.Errorf("the retry got %s", got)
		}

		// From owner to owner.
		leave = b.signed(1, "", "DEREGISTER Foyer")
		next := b.registerSigned(2, "room://192.0.2.10:2", "Foyer")
		if got := codesOf(t, b.ask(leave+"\n"+next)); got != "[OK busy]" {
			t.Errorf("got %s", got)
		}
		if got := codesOf(t, b.ask(leave+"\n"+next)); got != "[OK OK]" {
			t.Errorf("the retry got %s", got)
		}
	})
}

// A name that is registered in a datagram can be renewed and ended in the same
// one, with its key only.
func TestSignedLinesOfANewName(t *testing.T) {
	run(t, func(b *bench) {
		register := b.registerSigned(1, "room://192.0.2.10:1", "Foyer")
		renew, leave := "RENEW room://192.0.2.10:1 Foyer", "DEREGISTER Foyer"
		if got := codesOf(t, b.ask(strings.Join([]string{register, b.signed(2, "", renew), b.signed(2, "", leave), b.signed(1, "", renew)}, "\n"))); got != "[OK bad-signature bad-signature OK]" {
			t.Errorf("got %s", got)
		}
		b.expectCode(b.signed(1, "", leave), "OK")
		register = b.registerSigned(1, "room://192.0.2.10:1", "Foyer")
		if got := codesOf(t, b.ask(register+"\n"+b.signed(1, "", leave)+"\nLOOKUP Foyer")); got != "[OK OK ]" {
			t.Errorf("got %s", got)
		}
	})
}

// Every line of every datagram costs a check at most, and only those are made
// that the limit of its source allows.
func TestVerdictsAreCounted(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:1 Foyer", "OK")
		data := []string{"DEREGISTER Foyer"}
		for range 5 {
			data = append(data, b.registerSigned(1, "room://192.0.2.10:1", "Foyer"))
		}
		checked := func(datagram string) (n int) {
			if len(datagram) > wire.MaxDatagram {
				t.Fatal("the datagram is too long to be one")
			}
			x := exchangeOf(datagram)
			if !b.server.judge(x) {
				t.Error("the limit of the source does not allow for it")
			}
			for i := range x.signed {
				if x.signed[i].verdict != unchecked {
					n++
				}
			}
			return n
		}
		if n := checked(strings.Join(data, "\n")); n != 0 {
			t.Errorf("%d signatures were checked for a name that somebody has", n)
		}
		_ = b.ask("DEREGISTER Foyer")
		if n := checked(strings.Join(data[2:], "\n") + "\n" + b.signed(1, "", "DEREGISTER Foyer")); n != 5 {
			t.Errorf("%d signatures were checked, want 5", n)
		}
	})
}
