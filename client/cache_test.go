package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/testenv"
	"foyer/internal/udptest"
)

// cached returns a registry that knows "Foyer", and a Client with a cache.
func cached(t *testing.T, o client.Options) (*fakeRegistry, *client.Client) {
	n := udptest.New(1)
	r := newFakeRegistry(t, n, 7666, false)
	r.rooms["Foyer"] = registered{address: string(foyerAt)}
	o.Registries = []string{r.AddrPort().String()}
	return r, newClient(t, n, o)
}

// lookUp checks what a look-up of the Foyer answers, and how long it takes.
func lookUp(t *testing.T, c *client.Client, want client.Answer, after time.Duration) {
	t.Helper()
	start := time.Now()
	a, err := c.Lookup(t.Context(), "Foyer")
	if a != want || err != nil || time.Since(start) != after {
		t.Errorf("after %v: %v, %v; want after %v: %v", time.Since(start), a, err, after, want)
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10})
		asked := 0
		expect := func(what string, more int) {
			t.Helper()
			if got := len(r.Received()) - asked; got != more {
				t.Errorf("%s: asked %d times, want %d", what, got, more)
			}
			asked = len(r.Received())
		}
		lookUp(t, c, client.Answer{Address: foyerAt, TTL: 10 * time.Second}, 0)
		expect("unknown", 1)
		time.Sleep(3500 * time.Millisecond)
		lookUp(t, c, client.Answer{Address: foyerAt, TTL: 6 * time.Second}, 0)
		if got := c.LookupAll(t.Context(), []foyer.Name{"Foyer", "Foyer"})[1]; got.Answer.Address != foyerAt || got.Err != nil {
			t.Errorf("got %v", got)
		}
		expect("known", 0)
		time.Sleep(6500 * time.Millisecond)
		lookUp(t, c, client.Answer{Address: foyerAt, TTL: 10 * time.Second}, 0)
		expect("expired", 1)

		// That a name is unknown is never cached, and drops a cached answer.
		for range 2 {
			if _, err := c.Lookup(t.Context(), "Attic"); !errors.Is(err, foyer.ErrUnknownName) {
				t.Error(err)
			}
		}
		expect("unknown twice", 2)
		time.Sleep(11 * time.Second)
		r.do(func() { delete(r.rooms, "Foyer") })
		for range 2 {
			if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, foyer.ErrUnknownName) {
				t.Error(err)
			}
		}
		expect("gone", 2)
		if _, err := c.Lookup(t.Context(), "two  spaces"); !errors.Is(err, foyer.ErrBadName) {
			t.Error(err)
		}
		r.instead(func(line string) ([]string, bool) {
			return []string{udptest.Reply(line, "", "OK "+string(foyerAt))}, true
		})
		lookUp(t, c, client.Answer{Address: foyerAt}, 0)
		lookUp(t, c, client.Answer{Address: foyerAt}, 0)
		expect("without a ttl", 2)
	})
}

// TestCacheForgets: the Client's own changes are visible at once.
func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10})
		ctx := t.Context()
		hall := client.Registration{Name: "Great Hall", Address: foyerAt, Key: testKey(1)}
		r.do(func() { delete(r.rooms, "Foyer") })
		is := func(what string, want foyer.Address, wantErr error) {
			t.Helper()
			if a, err := c.Lookup(ctx, hall.Name); a.Address != want || !errors.Is(err, wantErr) {
				t.Errorf("%s: %v, %v", what, a, err)
			}
		}
		register := func(at foyer.Address) {
			hall.Address = at
			if _, err := c.Register(ctx, hall); err != nil {
				t.Error(err)
			}
		}
		register("room://192.0.2.7:1")
		is("registered", "room://192.0.2.7:1", nil)
		register("room://192.0.2.7:2")
		is("replaced", "room://192.0.2.7:2", nil)
		if err := c.Deregister(ctx, hall.Name, hall.Key); err != nil {
			t.Error(err)
		}
		is("deregistered", "", foyer.ErrUnknownName)
		register("room://192.0.2.7:3")
		is("registered again", "room://192.0.2.7:3", nil)
		r.do(func() { r.rooms["Great Hall"] = registered{address: "room://192.0.2.7:4"} })
		is("by somebody else, unnoticed", "room://192.0.2.7:3", nil)
		if _, err := c.Renew(ctx, hall); !errors.Is(err, foyer.ErrReplaced) {
			t.Error(err)
		}
		is("by somebody else", "room://192.0.2.7:4", nil)
		r.do(func() { r.rooms["Great Hall"] = registered{address: "room://192.0.2.7:5"} })
		if err := c.RenewAll(ctx, []client.Registration{hall, hall})[1].Err; !errors.Is(err, foyer.ErrReplaced) {
			t.Error(err)
		}
		is("by somebody else again", "room://192.0.2.7:5", nil)
	})
}

// TestCacheOvertaken: an answer that was sent before a change and arrives after
// it goes to those who had asked before, and to nobody else.
func TestCacheOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10})
		hold := true
		var held []string
		r.instead(func(line string) ([]string, bool) {
			if hold && held == nil {
				held = []string{r.answerLine(line)}
			}
			return nil, hold
		})
		var early sync.WaitGroup
		early.Go(func() {
			if a, err := c.Lookup(t.Context(), "Foyer"); a.Address != foyerAt || err != nil {
				t.Errorf("the early one: %v, %v", a, err)
			}
		})
		time.Sleep(50 * time.Millisecond)
		r.do(func() { hold = false })
		if err := c.Deregister(t.Context(), "Foyer", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: "room://192.0.2.9:9"}); err != nil {
			t.Fatal(err)
		}
		r.WriteToUDPAddrPort([]byte(held[0]), r.Received()[0].From)
		early.Wait()
		for range 2 {
			if a, err := c.Lookup(t.Context(), "Foyer"); a.Address != "room://192.0.2.9:9" || err != nil {
				t.Errorf("a late one: %v, %v", a, err)
			}
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 3})
		r.do(func() {
			for i := range 5 {
				r.rooms[fmt.Sprint(i)] = registered{address: fmt.Sprintf("room://192.0.2.7:%d", 1+i)}
			}
		})
		ask := func(names ...foyer.Name) int {
			before := len(r.Received())
			for _, name := range names {
				if _, err := c.Lookup(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
			return len(r.Received()) - before
		}
		if got := ask("0", "1", "2", "0", "3", "0", "2", "3", "1"); got != 5 {
			t.Errorf("asked %d times", got) // 1 was the least recently used when 3 came
		}
		if got := ask("2", "3", "1"); got != 0 {
			t.Errorf("asked %d times for what is kept", got)
		}
		if got := ask("0"); got != 1 {
			t.Errorf("asked %d times for what had to go", got)
		}
	})
}

// TestCoalescing: concurrent look-ups of a name become one request, which goes
// on as long as one caller waits.
func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10})
		var mute bool
		r.instead(func(string) ([]string, bool) { return nil, mute })
		mute = true
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i < 99 {
					time.AfterFunc(50*time.Millisecond, cancel)
				}
				a, err := c.Lookup(ctx, "Foyer")
				if i < 99 && (!errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrNoAnswer)) || i == 99 && (a.Address != foyerAt || err != nil) {
					t.Errorf("%d: %v, %v", i, a, err)
				}
			})
		}
		time.Sleep(60 * time.Millisecond)
		r.do(func() { mute = false })
		callers.Wait()
		if got := len(r.Received()); got != 2 {
			t.Errorf("%d datagrams, want one, and another after 100 ms", got)
		}
		// Once nobody waits, nothing is sent.
		time.Sleep(time.Minute)
		r.do(func() { mute = true })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Lookup(ctx, "Foyer"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if got := len(r.Received()); got != 3 {
			t.Errorf("%d datagrams", got)
		}
		r.do(func() { mute = false })
		lookUp(t, c, client.Answer{Address: foyerAt, TTL: 10 * time.Second}, 0)
	})
}

func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10, Stale: time.Hour})
		const soon = 1800 * time.Millisecond
		var mute, busy bool
		r.instead(func(line string) ([]string, bool) {
			if busy {
				return []string{udptest.Reply(line, ";code=busy", "NOTOK busy")}, true
			}
			return nil, mute
		})
		fresh, stale := client.Answer{Address: foyerAt, TTL: 10 * time.Second}, client.Answer{Address: foyerAt, Stale: true}
		lookUp(t, c, fresh, 0)
		time.Sleep(time.Minute)
		r.do(func() { mute = true })
		lookUp(t, c, stale, soon)

		// The look-up goes on behind the stale answer, which later callers get
		// at once meanwhile.
		asked := len(r.Received())
		lookUp(t, c, stale, 0)
		time.Sleep(2 * time.Second)
		if got := len(r.Received()); got == asked {
			t.Error("the look-up has ended")
		}
		time.Sleep(client.Timeout)
		// It has failed: no further one for half a minute.
		asked = len(r.Received())
		lookUp(t, c, stale, 0)
		if got := len(r.Received()); got != asked {
			t.Error("asked again at once")
		}
		time.Sleep(30 * time.Second)
		lookUp(t, c, stale, soon)

		// An answer to anything ends that.
		time.Sleep(client.Timeout)
		r.do(func() { mute = false })
		lookUp(t, c, stale, 0)
		if _, err := c.Lookup(t.Context(), "Attic"); !errors.Is(err, foyer.ErrUnknownName) {
			t.Error(err)
		}
		lookUp(t, c, fresh, 0)

		// An answer that arrives after the stale one was served is cached.
		time.Sleep(time.Minute)
		r.do(func() { mute = true })
		lookUp(t, c, stale, soon)
		r.do(func() {
			mute = false
			r.rooms["Foyer"] = registered{address: "room://192.0.2.9:9"}
		})
		time.Sleep(2 * time.Second)
		asked = len(r.Received())
		a, err := c.Lookup(t.Context(), "Foyer")
		if a.Address != "room://192.0.2.9:9" || a.Stale || err != nil || len(r.Received()) != asked {
			t.Errorf("got %v, %v", a, err)
		}
		r.do(func() { r.rooms["Foyer"] = registered{address: string(foyerAt)} })
		time.Sleep(time.Minute)
		lookUp(t, c, fresh, 0)

		// Busy is not an answer, and a caller's deadline may come first.
		time.Sleep(time.Minute)
		r.do(func() { busy = true })
		lookUp(t, c, stale, soon)
		time.Sleep(client.Timeout + time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a, err := c.Lookup(ctx, "Foyer"); a != stale || err != nil {
			t.Errorf("before a deadline: %v, %v", a, err)
		}
		time.Sleep(time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		if _, err := c.Lookup(ctx, "Foyer"); !errors.Is(err, context.Canceled) {
			t.Errorf("called off: %v", err)
		}

		// A refusal is an answer, and nothing is served for ever.
		r.do(func() { busy = false; delete(r.rooms, "Foyer") })
		if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, foyer.ErrUnknownName) {
			t.Error(err)
		}
		r.do(func() { r.rooms["Foyer"] = registered{address: string(foyerAt)} })
		lookUp(t, c, fresh, 0)
		r.do(func() { mute = true })
		time.Sleep(time.Hour + 10*time.Second - time.Minute)
		lookUp(t, c, stale, soon)
		time.Sleep(time.Minute)
		if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, client.ErrNoAnswer) {
			t.Error(err)
		}
	})
}

// TestStaleMany: of many names, the cached ones are served without waiting for
// the others.
func TestStaleMany(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, MaxDelay: 5 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, false)
		names, all := many(r, 2000)
		c := newClient(t, n, client.Options{Cache: len(names), Stale: time.Hour}, r)
		known := map[int]bool{}
		for i, f := range c.LookupAll(t.Context(), names[:1000]) {
			if known[i] = f.Err == nil; !known[i] && !errors.Is(f.Err, foyer.ErrUnknownName) && !errors.Is(f.Err, client.ErrNoAnswer) {
				t.Errorf("%s: %v", names[i], f)
			}
		}
		time.Sleep(time.Minute)
		r.Stop()
		start := time.Now()
		for i, f := range c.LookupAll(t.Context(), names[:1000]) {
			if known[i] && (f.Err != nil || !f.Answer.Stale || f.Answer.Address != all[i].Address) || !known[i] && !errors.Is(f.Err, client.ErrNoAnswer) {
				t.Errorf("%s: %v", names[i], f)
			}
		}
		if took := time.Since(start); took != client.Timeout {
			t.Errorf("took %v", took)
		}
		for i, f := range c.LookupAll(t.Context(), names) {
			if known[i] != (f.Err == nil) {
				t.Errorf("%s: %v", names[i], f)
			}
		}
	})
}

// TestStaleAfterRenewals: failed renewals do not drop the address.
func TestStaleAfterRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10, Stale: time.Hour})
		lookUp(t, c, client.Answer{Address: foyerAt, TTL: 10 * time.Second}, 0)
		r.Stop()
		if _, err := c.Renew(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); !errors.Is(err, client.ErrNoAnswer) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		lookUp(t, c, client.Answer{Address: foyerAt, Stale: true}, 1800*time.Millisecond)
		if err := c.Deregister(t.Context(), "Foyer", nil); !errors.Is(err, client.ErrNoAnswer) {
			t.Error(err)
		}
		if a, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("got %v, %v", a, err) // it may be gone
		}
	})
}

// TestKeepAsks: a registration is checked with the registry, not with the cache.
func TestKeepAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c := cached(t, client.Options{Cache: 10, Stale: time.Hour})
		reg := client.Registration{Name: "Great Hall", Address: "room://192.0.2.7:7"}
		k := keep(t, c, reg)
		expect(t, "at first", k.after(time.Minute), client.Registered)
		if a, err := c.Lookup(t.Context(), reg.Name); a.Address != reg.Address || err != nil {
			t.Errorf("got %v, %v", a, err)
		}
		r.do(func() { r.rooms["Great Hall"] = registered{address: "room://192.0.2.9:9"} })
		expect(t, "replaced", k.after(12*time.Second), client.Replaced)
	})
}

func TestCacheOptions(t *testing.T) {
	for _, o := range []client.Options{{Cache: -1}, {Cache: 1, Stale: -1}} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
