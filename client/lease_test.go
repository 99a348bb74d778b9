package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/udptest"
)

// keeping is a lease under test.
type keeping struct{ *client.Lease }

func keep(t *testing.T, c *client.Client, reg client.Registration) keeping {
	t.Helper()
	l, err := c.Claim(t.Context(), reg)
	if err != nil {
		t.Fatal(err)
	}
	return keeping{l}
}

// after returns the events within d.
func (k keeping) after(d time.Duration) (kinds []client.EventKind) {
	time.Sleep(d)
	synctest.Wait()
	for {
		select {
		case e, ok := <-k.Events():
			if !ok {
				return kinds
			}
			kinds = append(kinds, e.Kind)
		default:
			return kinds
		}
	}
}

// ended waits for the lease's end, leaves its events alone, and returns why.
func (k keeping) ended(t *testing.T) error {
	t.Helper()
	for range 3600 {
		if err := k.Err(); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	t.Fatal("it goes on")
	return nil
}

func expect(t *testing.T, what string, got []client.EventKind, want ...client.EventKind) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
		expect(t, "at first", k.after(time.Minute), client.Registered)

		lines := r.Received()
		for i := range lines[1:] {
			gap := lines[i+1].At.Sub(lines[i].At)
			if gap < 9*time.Second || gap > 11*time.Second || !strings.Contains(lines[i+1].Line, " RENEW ") {
				t.Errorf("after %v: %q", gap, lines[i+1].Line)
			}
		}

		away := func(string) ([]string, bool) { return nil, true }
		r.instead(away)
		expect(t, "silence", k.after(time.Hour), client.Silent)
		r.instead(nil)
		expect(t, "back", k.after(time.Minute), client.Answering)

		r.do(func() { clear(r.rooms) })
		expect(t, "forgotten", k.after(time.Minute), client.RegisteredAnew)
		r.do(func() { clear(r.rooms) })
		expect(t, "forgotten again", k.after(time.Minute), client.RegisteredAnew)

		r.instead(away)
		expect(t, "silence", k.after(time.Minute), client.Silent)
		r.do(func() { clear(r.rooms) })
		r.instead(nil)
		expect(t, "back, and forgotten", k.after(time.Minute), client.RegisteredAnew)

		r.instead(func(line string) ([]string, bool) {
			return []string{udptest.Reply(line, ";code=unavailable", "NOTOK the disk is full")}, true
		})
		expect(t, "unavailable", k.after(time.Minute), client.Silent)
		r.instead(func(line string) ([]string, bool) {
			return []string{udptest.Reply(line, ";code=unauthorized", "NOTOK not you")}, strings.Contains(line, "REGISTER")
		})
		r.do(func() { clear(r.rooms) })
		expect(t, "refused", k.after(time.Hour), client.Refused)
		r.instead(nil)
		expect(t, "taken back", k.after(time.Minute), client.RegisteredAnew)

		r.do(func() {
			r.rooms["Foyer"] = registered{"room://192.0.2.7:1", foyer.Key(testKey(1)[32:]).String(), 30}
		})
		expect(t, "replaced", k.after(time.Minute), client.Replaced)
		if err := k.ended(t); !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestLeaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		reg := client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second}
		r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"}
		if l, err := c.Claim(t.Context(), reg); l != nil || !errors.Is(err, foyer.ErrNameTaken) {
			t.Errorf("got %v, %v", l, err)
		}
		r.instead(func(string) ([]string, bool) { return nil, true })
		if l, err := c.Claim(t.Context(), reg); l != nil || !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("got %v, %v", l, err)
		}
		before := len(r.Received())
		time.Sleep(time.Minute)
		if after := len(r.Received()); after != before {
			t.Errorf("%d more requests", after-before)
		}
	})
}

// TestLeaseEvicted: the registry's operator has taken the name off.
func TestLeaseEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
		expect(t, "at first", k.after(time.Minute), client.Registered)
		r.instead(func(line string) ([]string, bool) {
			return []string{udptest.Reply(line, ";code=evicted", "NOTOK off until noon")}, strings.Contains(line, "REGISTER")
		})
		r.do(func() { clear(r.rooms) })
		expect(t, "evicted", k.after(time.Minute), client.Refused)
		if err := k.Err(); !errors.Is(err, foyer.ErrEvicted) || !strings.Contains(err.Error(), "off until noon") {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestLeaseLosesName: the registry forgot the room, and somebody else
// registered first.
func TestLeaseLosesName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		for _, owner := range []string{"", foyer.Key(testKey(2)[32:]).String()} {
			clear(r.rooms)
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
			expect(t, "at first", k.after(time.Minute), client.Registered)
			r.do(func() { r.rooms["Foyer"] = registered{"room://192.0.2.7:1", owner, 0} })
			if err := k.ended(t); !errors.Is(err, foyer.ErrReplaced) {
				t.Errorf("ended with %v", err)
			}
			expect(t, "replaced", k.after(0), client.Replaced)
		}
	})
}

func TestLeaseWithoutLease(t *testing.T) {
	for _, plain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(4)
			r := newFakeRegistry(t, n, 7666, plain)
			c := newClient(t, n, client.Options{}, r)
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt})
			expect(t, "at first", k.after(time.Hour), client.Registered)
			r.do(func() { clear(r.rooms) })
			expect(t, "forgotten", k.after(time.Minute), client.RegisteredAnew)
			r.do(func() { r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"} })
			expect(t, "replaced", k.after(time.Minute), client.Replaced)
		})
	}
}

// TestLeaseReleased: the context of Claim applies only to Claim, and a lease
// ends with Release, which deregisters once.
func TestLeaseReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		ctx, cancel := context.WithCancel(t.Context())
		l, err := c.Claim(ctx, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 5 * time.Second, Key: testKey(1)})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		k := keeping{l}
		before := len(r.Received())
		expect(t, "at first", k.after(time.Minute), client.Registered)
		if renewals := len(r.Received()) - before; renewals < 30 || k.Err() != nil {
			t.Errorf("%d renewals, %v", renewals, k.Err())
		}
		if err := k.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := k.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		if _, open := <-k.Events(); open || len(r.rooms) != 0 {
			t.Errorf("released: the channel is open: %v; registered: %v", open, r.rooms)
		}
		before = len(r.Received())
		time.Sleep(time.Minute)
		if err := k.Release(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
		if after := len(r.Received()); after != before {
			t.Errorf("%d more requests", after-before)
		}
	})
}

// TestLeaseReleaseFails: Release ends a renewal in flight, waits no longer than
// its context, and can be called again.
func TestLeaseReleaseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
		r.instead(func(string) ([]string, bool) { return nil, true })
		time.Sleep(12 * time.Second)
		if lines := r.Received(); !strings.Contains(lines[len(lines)-1].Line, " RENEW ") {
			t.Fatalf("no renewal is under way, but %q", lines[len(lines)-1].Line)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := k.Release(ctx); !errors.Is(err, client.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if err := k.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		r.instead(nil)
		if err := k.Release(t.Context()); err != nil || len(r.rooms) != 0 {
			t.Errorf("again: %v; registered: %v", err, r.rooms)
		}
	})
}

// TestLeaseLeavesSuccessor: Release does not end the registration of whoever has
// the name now, not even with the key of the same owner.
func TestLeaseLeavesSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
		r.do(func() {
			r.rooms["Foyer"] = registered{"room://192.0.2.7:1", foyer.Key(testKey(1)[32:]).String(), 30}
		})
		if err := k.ended(t); !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("ended with %v", err)
		}
		before := len(r.Received())
		if err := k.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if after := len(r.Received()); after != before {
			t.Errorf("%d more requests", after-before)
		}
	})
}

// TestLeaseUnread: if nobody reads events, the lease is kept all the same, and
// the last events stay readable.
func TestLeaseUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(10)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
		time.Sleep(time.Minute)
		for range 20 {
			r.instead(func(string) ([]string, bool) { return nil, true })
			time.Sleep(time.Minute) // silent
			r.instead(nil)
			r.do(func() { clear(r.rooms) })
			time.Sleep(time.Minute)
			r.do(func() {
				if r.rooms["Foyer"].address != string(foyerAt) {
					t.Error("was not registered anew")
				}
			})
		}
		r.do(func() { r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"} })
		if err := k.ended(t); !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("ended with %v", err)
		}
		want := []client.EventKind{client.RegisteredAnew}
		for range 7 {
			want = append(want, client.Silent, client.RegisteredAnew)
		}
		expect(t, "left", k.after(0), append(want, client.Replaced)...)
	})
}

// TestLeaseLostReply: the reply to the room's new registration is lost; the
// next renewal finds it registered.
func TestLeaseLostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
		expect(t, "at first", k.after(time.Minute), client.Registered)
		r.instead(func(line string) ([]string, bool) {
			if strings.Contains(line, "REGISTER") {
				r.rooms["Foyer"] = registered{address: string(foyerAt), ttl: 30}
				return nil, true
			}
			return nil, false
		})
		r.do(func() { clear(r.rooms) })
		expect(t, "reply lost", k.after(time.Minute), client.Silent, client.Answering)
	})
}

// TestLeaseOvertaken: somebody else takes the name after the renewal that shows
// that the registry forgot the room, and before the new registration.
func TestLeaseOvertaken(t *testing.T) {
	for _, code := range []foyer.Code{foyer.NameTaken, foyer.NotOwner} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(7)
			r := newFakeRegistry(t, n, 7666, false)
			c := newClient(t, n, client.Options{}, r)
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
			expect(t, "at first", k.after(time.Minute), client.Registered)
			r.instead(func(line string) ([]string, bool) {
				return []string{udptest.Reply(line, ";code="+string(code), "NOTOK somebody else has it")}, strings.Contains(line, "REGISTER")
			})
			r.do(func() { clear(r.rooms) })
			expect(t, "overtaken", k.after(time.Minute), client.Replaced)
			err := k.ended(t)
			if !errors.Is(err, foyer.ErrReplaced) || !errors.Is(err, &foyer.Error{Code: code}) || err.Error() != "somebody else has it" {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestLeaseClosed(t *testing.T) {
	for _, when := range []time.Duration{time.Minute, 12 * time.Second} { // between requests, and while one is in flight
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(8)
			r := newFakeRegistry(t, n, 7666, false)
			c := newClient(t, n, client.Options{}, r)
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
			expect(t, "at first", k.after(time.Second), client.Registered)
			if when < time.Minute {
				r.instead(func(string) ([]string, bool) { return nil, true })
			}
			expect(t, "before the end", k.after(when))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := k.Err(); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "client") {
				t.Errorf("ended with %v", err)
			}
			expect(t, "at the end", k.after(time.Minute))
			if err := k.Release(t.Context()); !errors.Is(err, net.ErrClosed) || len(r.rooms) != 1 {
				t.Errorf("released afterwards: %v; registered: %v", err, r.rooms)
			}
		})
	}
}

func TestEventKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := client.Registered; k <= client.Replaced; k++ {
		if s := k.String(); seen[s] || strings.Contains(s, "EventKind") {
			t.Errorf("kind %d is called %q", int(k), s)
		} else {
			seen[s] = true
		}
	}
	if got := client.EventKind(99).String(); got != "EventKind(99)" {
		t.Errorf("got %q", got)
	}
}
