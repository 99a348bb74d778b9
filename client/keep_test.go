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

// keeping is a Keep under way.
type keeping struct {
	changes chan client.Change
	ended   chan error
	cancel  context.CancelFunc
}

func keep(t *testing.T, c *client.Client, reg client.Registration) *keeping {
	ctx, cancel := context.WithCancel(t.Context())
	k := &keeping{make(chan client.Change, 100), make(chan error, 1), cancel}
	go func() { k.ended <- c.Keep(ctx, reg, func(ch client.Change) { k.changes <- ch }) }()
	t.Cleanup(cancel)
	return k
}

// after returns the changes within d.
func (k *keeping) after(d time.Duration) (kinds []client.ChangeKind) {
	time.Sleep(d)
	synctest.Wait()
	for {
		select {
		case ch := <-k.changes:
			kinds = append(kinds, ch.Kind)
		default:
			return kinds
		}
	}
}

func expect(t *testing.T, what string, got []client.ChangeKind, want ...client.ChangeKind) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
		expect(t, "at first", k.after(time.Minute), client.Registered)

		lines := r.received()
		for i := range lines[1:] {
			gap := lines[i+1].at.Sub(lines[i].at)
			if gap < 9*time.Second || gap > 11*time.Second || !strings.Contains(lines[i+1].line, " RENEW ") {
				t.Errorf("after %v: %q", gap, lines[i+1].line)
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
			return []string{reply(line, ";code=unavailable", "NOTOK the disk is full")}, true
		})
		expect(t, "unavailable", k.after(time.Minute), client.Silent)
		r.instead(func(line string) ([]string, bool) {
			return []string{reply(line, ";code=unauthorized", "NOTOK not you")}, strings.Contains(line, "REGISTER")
		})
		r.do(func() { clear(r.rooms) })
		expect(t, "refused", k.after(time.Hour), client.Refused)
		r.instead(nil)
		expect(t, "taken back", k.after(time.Minute), client.RegisteredAnew)

		r.do(func() {
			r.rooms["Foyer"] = registered{"room://192.0.2.7:1", foyer.Key(testKey(1)[32:]).String(), 30}
		})
		expect(t, "replaced", k.after(time.Minute), client.Replaced)
		if err := <-k.ended; !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestKeepFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		reg := client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second}
		r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"}
		k := keep(t, c, reg)
		if err := <-k.ended; !errors.Is(err, foyer.ErrNameTaken) {
			t.Errorf("ended with %v", err)
		}
		r.instead(func(string) ([]string, bool) { return nil, true })
		k = keep(t, c, reg)
		if err := <-k.ended; !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("ended with %v", err)
		}
		expect(t, "of failures", k.after(0))
	})
}

// TestKeepEvicted: the registry's operator has taken the name off.
func TestKeepEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
		expect(t, "at first", k.after(time.Minute), client.Registered)
		r.instead(func(line string) ([]string, bool) {
			return []string{reply(line, ";code=evicted", "NOTOK off until noon")}, strings.Contains(line, "REGISTER")
		})
		r.do(func() { clear(r.rooms) })
		expect(t, "evicted", k.after(time.Minute), client.Refused)
		select {
		case err := <-k.ended:
			if !errors.Is(err, foyer.ErrEvicted) || !strings.Contains(err.Error(), "off until noon") {
				t.Errorf("ended with %v", err)
			}
		default:
			t.Error("it goes on")
		}
	})
}

// TestKeepLosesName: the registry forgot the room, and somebody else was faster.
func TestKeepLosesName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		for _, owner := range []string{"", foyer.Key(testKey(2)[32:]).String()} {
			clear(r.rooms)
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)})
			expect(t, "at first", k.after(time.Minute), client.Registered)
			r.do(func() { r.rooms["Foyer"] = registered{"room://192.0.2.7:1", owner, 0} })
			if err := <-k.ended; !errors.Is(err, foyer.ErrReplaced) {
				t.Errorf("ended with %v", err)
			}
			expect(t, "replaced", k.after(0), client.Replaced)
		}
	})
}

func TestKeepWithoutLease(t *testing.T) {
	for _, plain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(4)
			r := newFakeRegistry(t, n, 7666, plain)
			c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt})
			expect(t, "at first", k.after(time.Hour), client.Registered)
			r.do(func() { clear(r.rooms) })
			expect(t, "forgotten", k.after(time.Minute), client.RegisteredAnew)
			r.do(func() { r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"} })
			expect(t, "replaced", k.after(time.Minute), client.Replaced)
		})
	}
}

func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		reg := client.Registration{Name: "Foyer", Address: foyerAt, TTL: 5 * time.Second}
		k := keep(t, c, reg)
		expect(t, "at first", k.after(time.Minute), client.Registered)
		k.cancel()
		if err := <-k.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if err := c.Deregister(t.Context(), reg.Name, nil); err != nil {
			t.Error(err)
		}
		before := len(r.received())
		time.Sleep(time.Minute)
		if after := len(r.received()); after != before {
			t.Errorf("%d more requests", after-before)
		}
	})
}

// TestKeepUnobserved: who does not care about changes passes no notify.
func TestKeepUnobserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(10)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
		ended := make(chan error, 1)
		go func() {
			ended <- c.Keep(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second}, nil)
		}()
		time.Sleep(time.Minute)
		r.instead(func(string) ([]string, bool) { return nil, true })
		time.Sleep(time.Minute) // silent
		r.instead(nil)
		r.do(func() { clear(r.rooms) })
		time.Sleep(time.Minute)
		r.do(func() {
			if r.rooms["Foyer"].address != string(foyerAt) {
				t.Error("was not registered anew")
			}
			r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"}
		})
		if err := <-ended; !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestKeepLostReply: the reply to the room's new registration is lost for good;
// the next renewal finds it done.
func TestKeepLostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
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

// TestKeepOvertaken: between the renewal that shows that the registry forgot the
// room and the new registration, somebody else takes the name.
func TestKeepOvertaken(t *testing.T) {
	for _, code := range []foyer.Code{foyer.NameTaken, foyer.NotOwner} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(7)
			r := newFakeRegistry(t, n, 7666, false)
			c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
			expect(t, "at first", k.after(time.Minute), client.Registered)
			r.instead(func(line string) ([]string, bool) {
				return []string{reply(line, ";code="+string(code), "NOTOK somebody else has it")}, strings.Contains(line, "REGISTER")
			})
			r.do(func() { clear(r.rooms) })
			expect(t, "overtaken", k.after(time.Minute), client.Replaced)
			err := <-k.ended
			if !errors.Is(err, foyer.ErrReplaced) || !errors.Is(err, &foyer.Error{Code: code}) || err.Error() != "somebody else has it" {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestKeepClosed(t *testing.T) {
	for _, when := range []time.Duration{time.Minute, 12 * time.Second} { // between requests, and while one is in flight
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(8)
			r := newFakeRegistry(t, n, 7666, false)
			c := newClient(t, n, client.Options{Registries: []string{r.addr()}})
			k := keep(t, c, client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
			expect(t, "at first", k.after(time.Second), client.Registered)
			if when < time.Minute {
				r.instead(func(string) ([]string, bool) { return nil, true })
			}
			expect(t, "before the end", k.after(when))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			expect(t, "at the end", k.after(time.Minute))
			if err := <-k.ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestChangeKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := client.Registered; k <= client.Replaced; k++ {
		if s := k.String(); seen[s] || strings.Contains(s, "ChangeKind") {
			t.Errorf("kind %d is called %q", int(k), s)
		} else {
			seen[s] = true
		}
	}
	if got := client.ChangeKind(99).String(); got != "ChangeKind(99)" {
		t.Errorf("got %q", got)
	}
}
