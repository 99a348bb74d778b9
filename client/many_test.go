package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/testenv"
	"foyer/internal/udptest"
	"foyer/wire"
)

// many returns count registrations, of which all but every seventh are
// registered.
func many(r *fakeRegistry, count int) (names []foyer.Name, all []client.Registration) {
	key := testKey(1)
	r.do(func() {
		for i := range count {
			reg := client.Registration{Name: foyer.Name(fmt.Sprintf("Room %d", i)), Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", 1+i)), TTL: 30 * time.Second}
			owner := ""
			if i%2 == 1 {
				reg.Key = key
				owner = foyer.Key(key[32:]).String()
			}
			if i%7 != 0 {
				r.rooms[string(reg.Name)] = registered{string(reg.Address), owner, 30}
			}
			names, all = append(names, reg.Name), append(all, reg)
		}
	})
	return names, all
}

func checkFound(t *testing.T, found []client.Found, all []client.Registration) {
	t.Helper()
	for i, f := range found {
		switch {
		case i%7 == 0 && !errors.Is(f.Err, foyer.ErrUnknownName):
			t.Errorf("%s: %v", all[i].Name, f)
		case i%7 != 0 && (f.Err != nil || f.Answer.Address != all[i].Address):
			t.Errorf("%s: %v", all[i].Name, f)
		}
	}
	if len(found) != len(all) {
		t.Errorf("%d results for %d names", len(found), len(all))
	}
}

func checkRenewed(t *testing.T, renewed []client.Renewed, lease time.Duration) {
	t.Helper()
	for i, r := range renewed {
		switch {
		case i%7 == 0 && !errors.Is(r.Err, foyer.ErrUnknownName):
			t.Errorf("%d: %v", i, r)
		case i%7 != 0 && (r.Err != nil || r.TTL != lease):
			t.Errorf("%d: %v", i, r)
		}
	}
}

func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		n.SetFaults(udptest.Faults{MinDelay: 10 * time.Millisecond, MaxDelay: 10 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		const count = 2000
		names, all := many(r, count)
		checkFound(t, c.LookupAll(t.Context(), names), all)
		lookups := len(r.Received())
		checkRenewed(t, c.RenewAll(t.Context(), all), 30*time.Second)
		renewals := len(r.Received()) - lookups
		// 51 bytes and the name; 91 more and the address if signed.
		if lookups > count*60/wire.MaxDatagram || renewals > count*150/wire.MaxDatagram {
			t.Errorf("%d datagrams for look-ups, %d for renewals", lookups, renewals)
		}
		flying := 0
		at := map[time.Time]int{}
		ids := map[string]bool{}
		for _, got := range r.Received() {
			at[got.At]++
			flying = max(flying, at[got.At])
			if len(got.Line) > wire.MaxDatagram {
				t.Errorf("a datagram of %d bytes", len(got.Line))
			}
			for line := range strings.SplitSeq(got.Line, "\n") {
				q, err := wire.ParseRequest([]byte(line))
				if err != nil || ids[string(q.ID)] {
					t.Errorf("%q: %v", line, err)
				}
				ids[string(q.ID)] = true
			}
		}
		if flying > 32 {
			t.Errorf("%d datagrams at a time", flying)
		}
		if len(c.LookupAll(t.Context(), nil)) != 0 || len(c.RenewAll(t.Context(), nil)) != 0 {
			t.Error("results for nothing")
		}
	})
}

// TestManyLossy: with a fifth lost each way everything is still answered, and
// nothing answered is asked again.
func TestManyLossy(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		const count = 2000
		names, all := many(r, count)
		// A failing datagram, one in ten thousand, takes up to 22 lines with
		// it.
		const longest = 22
		failed, last := 0, -longest
		fail := func(i int) {
			if i-last >= longest {
				failed, last = failed+1, i
			}
		}
		for i, f := range c.LookupAll(t.Context(), names) {
			if errors.Is(f.Err, client.ErrNoAnswer) {
				fail(i)
			} else if i%7 == 0 != errors.Is(f.Err, foyer.ErrUnknownName) || f.Err == nil && f.Answer.Address != all[i].Address {
				t.Errorf("%s: %v", names[i], f)
			}
		}
		last = -longest
		for i, f := range c.RenewAll(t.Context(), all) {
			if errors.Is(f.Err, client.ErrNoAnswer) {
				fail(i)
			} else if i%7 == 0 != errors.Is(f.Err, foyer.ErrUnknownName) {
				t.Errorf("%s: %v", names[i], f)
			}
		}
		if failed > 2 {
			t.Errorf("%d datagrams failed", failed)
		}
		t.Logf("%d datagrams failed; %d were received", failed, len(r.Received()))
	})
}

// TestManyPartly: a registry that answers only some lines of a datagram gets
// only the others again.
func TestManyPartly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		names, all := many(r, 60)
		answered := map[string]bool{}
		r.instead(func(datagram string) (replies []string, ok bool) {
			for i, line := range strings.Split(datagram, "\n") {
				if answered[line] {
					t.Errorf("asked again: %q", line)
				}
				if i < 6 {
					answered[line] = true
					replies = append(replies, r.answerLine(line))
				}
			}
			slices.Reverse(replies) // and each in a datagram of its own
			return replies, true
		})
		checkFound(t, c.LookupAll(t.Context(), names), all)
	})
}

// TestManyForgeries: a reply counts only for the line with its id, and only
// from the registry.
func TestManyForgeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		forger := listen(t, n, abroad, 7666)
		c := newClient(t, n, client.Options{}, r)
		names, all := many(r, 60)
		n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		var once sync.Once
		r.instead(func(datagram string) ([]string, bool) {
			once.Do(func() {
				n.Inject(forger.AddrPort(), r.Received()[0].From, []byte(udptest.Reply(datagram, "", "OK room://198.51.100.3:1")))
			})
			replies := []string{"@id=01890a5d-ac96-774b-bcce-b302099a8057 OK room://198.51.100.3:1", "\n\n@\n"}
			for line := range strings.SplitSeq(datagram, "\n") {
				replies = append(replies, r.answerLine(line), r.answerLine(line)+"\n"+udptest.Reply(line, "", "OK room://198.51.100.3:2"))
			}
			return append(replies, "OK room://198.51.100.3:1"), true
		})
		checkFound(t, c.LookupAll(t.Context(), names), all)
	})
}

func TestManyPlain(t *testing.T) {
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprintf("Plain=%t", only), func(t *testing.T) {
			s := testenv.Seed(t)
			synctest.Test(t, func(t *testing.T) {
				n := udptest.New(s)
				n.SetFaults(udptest.Faults{Duplicate: 0.1, Reorder: 0.1, MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond})
				r := newFakeRegistry(t, n, 7666, true)
				c := newClient(t, n, client.Options{Plain: only}, r)
				names, all := many(r, 500)
				checkFound(t, c.LookupAll(t.Context(), names), all)
				checkRenewed(t, c.RenewAll(t.Context(), all), 0)
				r.do(func() {
					at := r.rooms["Room 1"]
					at.address = "room://192.0.2.9:1"
					r.rooms["Room 1"] = at
				})
				if got := c.RenewAll(t.Context(), all[:3])[1]; !errors.Is(got.Err, foyer.ErrReplaced) {
					t.Errorf("renewal of one that has moved: %v", got)
				}
				for _, got := range r.Received() {
					if !strings.HasPrefix(got.Line, "@") && strings.Contains(got.Line, "\n") {
						t.Errorf("several lines in the plain dialect: %q", got.Line)
					}
				}
			})
		})
	}
}

// TestManySilence: the whole takes Timeout, not Timeout for each 32 datagrams.
func TestManySilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		p := serve(t, n, office, 7666, udptest.Silent)
		names := make([]foyer.Name, 10000)
		for i := range names {
			names[i] = foyer.Name(fmt.Sprintf("Room %d", i))
		}
		c := newClient(t, n, client.Options{}, p)
		try := func(ctx context.Context, want time.Duration, is error) {
			t.Helper()
			start := time.Now()
			for i, f := range c.LookupAll(ctx, names) {
				var silence *client.NoAnswerError
				if !errors.As(f.Err, &silence) || silence.Peer != "registry 192.0.2.2:7666" || silence.Err != is {
					t.Fatalf("%d: %v", i, f)
				}
			}
			if took := time.Since(start); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
		try(t.Context(), client.Timeout, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		try(ctx, time.Second, context.DeadlineExceeded)
		lines := p.Received()
		if len(lines) > 32*10+32*6 {
			t.Errorf("%d datagrams", len(lines))
		}

		// Time counts from the last answer, not from the beginning.
		r := newFakeRegistry(t, n, 7667, false)
		c = newClient(t, n, client.Options{}, r)
		n.SetFaults(udptest.Faults{MinDelay: 100 * time.Millisecond, MaxDelay: 100 * time.Millisecond})
		start := time.Now()
		for i, f := range c.LookupAll(t.Context(), append(names, names...)) {
			if !errors.Is(f.Err, foyer.ErrUnknownName) {
				t.Fatalf("%d: %v", i, f)
			}
		}
		if took := time.Since(start); took < client.Timeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestManyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		ctx := t.Context()
		c := newClient(t, n, client.Options{}, r)
		names, all := many(r, 100)

		// One invalid name does not affect the others.
		names[50], all[50].Address = "two  spaces", "nowhere"
		all[51].Key = all[51].Key[:3]
		all[52].TTL = -1
		found, renewed := c.LookupAll(ctx, names), c.RenewAll(ctx, all)
		if !errors.Is(found[50].Err, foyer.ErrBadName) || found[51].Err != nil {
			t.Errorf("got %v, %v", found[50], found[51])
		}
		for i, code := range map[int]foyer.Code{50: foyer.BadAddress, 51: foyer.BadSignature, 52: foyer.Malformed} {
			if !errors.Is(renewed[i].Err, &foyer.Error{Code: code}) {
				t.Errorf("got %v", renewed[i])
			}
		}
		names, all = many(r, 100)

		// Busy for a while: the same ids are sent again.
		until := time.Now().Add(2 * time.Second)
		busy := 0
		r.instead(func(datagram string) (replies []string, ok bool) {
			if time.Now().After(until) {
				return nil, false
			}
			for i, line := range strings.Split(datagram, "\n") {
				if i%2 == 0 {
					replies = append(replies, udptest.Reply(line, ";code=busy", "NOTOK busy"))
					busy++
				} else {
					replies = append(replies, r.answerLine(line))
				}
			}
			return replies, true
		})
		checkFound(t, c.LookupAll(ctx, names), all)
		if busy == 0 {
			t.Error("nothing was refused")
		}
		until = time.Now().Add(time.Hour)
		for i, f := range c.LookupAll(ctx, names[:1:1]) {
			if !errors.Is(f.Err, foyer.ErrBusy) {
				t.Errorf("%d: %v", i, f)
			}
		}

		// A wrong clock is corrected once for each datagram.
		now := time.Now().Add(-time.Hour)
		stale := 0
		r.instead(func(datagram string) (replies []string, ok bool) {
			for line := range strings.SplitSeq(datagram, "\n") {
				q, _ := wire.ParseRequest([]byte(line))
				var ms int64
				for _, b := range q.UUID[:6] {
					ms = ms<<8 | int64(b)
				}
				if off := time.UnixMilli(ms).Sub(now); off.Abs() > 5*time.Minute {
					replies = append(replies, udptest.Reply(line, fmt.Sprintf(";code=stale-request;now=%d", now.UnixMilli()), "NOTOK stale"))
					stale++
				} else {
					replies = append(replies, r.answerLine(line))
				}
			}
			return []string{strings.Join(replies[:min(10, len(replies))], "\n")}, true
		})
		checkRenewed(t, c.RenewAll(ctx, all), 30*time.Second)
		if stale == 0 || stale > len(all) {
			t.Errorf("%d stale requests", stale)
		}
	})
}

func TestManyFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		dead := serve(t, n, office, 7666, udptest.Silent)
		old := newFakeRegistry(t, n, 7667, true)
		names, all := many(old, 300)
		c := newClient(t, n, client.Options{}, dead, old)
		checkFound(t, c.LookupAll(t.Context(), names), all)
		old.Stop()
		r := newFakeRegistry(t, n, 7668, false)
		many(r, 300)
		c = newClient(t, n, client.Options{}, dead, r)
		start := time.Now()
		checkFound(t, c.LookupAll(t.Context(), names), all)
		checkRenewed(t, c.RenewAll(t.Context(), all), 30*time.Second)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		none := newClient(t, n, client.Options{})
		for _, f := range none.LookupAll(t.Context(), names) {
			if !errors.Is(f.Err, client.ErrNoRegistry) {
				t.Error(f.Err)
			}
		}
	})
}

func TestManyClose(t *testing.T) {
	for _, cached := range []int{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(1)
			p := serve(t, n, office, 7666, udptest.Silent)
			c := newClient(t, n, client.Options{Cache: cached}, p)
			time.AfterFunc(time.Second, func() { c.Close() })
			for range 2 { // the second time with a closed Client
				names := make([]foyer.Name, 1000)
				for i := range names {
					names[i] = foyer.Name(fmt.Sprint(i))
				}
				for _, f := range c.LookupAll(t.Context(), names) {
					if !errors.Is(f.Err, net.ErrClosed) {
						t.Fatal(f.Err)
					}
				}
				if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
}

// TestManyAtOnce: callers, including those of single requests, share what a
// Client may have in flight.
func TestManyAtOnce(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetQueue(1 << 14)
		n.SetFaults(udptest.Faults{Loss: 0.05, MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, false)
		names, all := many(r, 700)
		c := newClient(t, n, client.Options{}, r)
		var callers sync.WaitGroup
		for i := range 4 {
			callers.Go(func() { checkFound(t, c.LookupAll(t.Context(), names), all) })
			callers.Go(func() { checkRenewed(t, c.RenewAll(t.Context(), all), 30*time.Second) })
			callers.Go(func() {
				if a, err := c.Lookup(t.Context(), names[i*7+1]); err != nil || a.Address != all[i*7+1].Address {
					t.Errorf("got %v, %v", a, err)
				}
			})
		}
		callers.Wait()
	})
}
