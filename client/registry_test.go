package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/seam"
	"foyer/internal/testenv"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/wire"
)

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		ctx := t.Context()
		reg := client.Registration{Name: "Great Hall", Address: foyerAt, TTL: 29500 * time.Millisecond, Key: testKey(1)}

		if _, err := c.Lookup(ctx, reg.Name); !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("look-up of nothing: %v", err)
		}
		if granted, err := c.Register(ctx, reg); granted != 30*time.Second || err != nil {
			t.Errorf("register: %v, %v", granted, err)
		}
		if a, err := c.Lookup(ctx, reg.Name); a != (client.Answer{Address: foyerAt, TTL: 10 * time.Second}) || err != nil {
			t.Errorf("look-up: %v, %v", a, err)
		}
		if granted, err := c.Renew(ctx, reg); granted != 30*time.Second || err != nil {
			t.Errorf("renew: %v, %v", granted, err)
		}
		if err := c.Deregister(ctx, reg.Name, testKey(2)); !errors.Is(err, foyer.ErrNotOwner) {
			t.Errorf("deregister with another key: %v", err)
		}
		moved := reg
		moved.Address = "room://192.0.2.7:40002"
		if _, err := c.Renew(ctx, moved); !errors.Is(err, foyer.ErrReplaced) {
			t.Errorf("renew of another address: %v", err)
		}
		if _, err := c.Register(ctx, moved); err != nil {
			t.Errorf("register anew as the owner: %v", err)
		}
		if err := c.Deregister(ctx, reg.Name, reg.Key); err != nil {
			t.Errorf("deregister: %v", err)
		}
		if _, err := c.Renew(ctx, reg); !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("renew of nothing: %v", err)
		}
		for _, got := range r.Received() {
			q, err := wire.ParseRequest([]byte(got.Line))
			if err != nil || q.UUID[6]>>4 != 7 {
				t.Errorf("%q: %v", got.Line, err)
			}
			if signed := q.Verb != wire.Lookup; signed != (q.Sig != nil) || (q.Verb == wire.Register) != (q.Key != nil) {
				t.Errorf("%q: key and signature", got.Line)
			}
		}
	})
}

// TestLossyNetwork is what the protocol is made for: a fifth of everything lost
// each way, a tenth duplicated, a tenth reordered.
// A room's exits are told when it is registered, and again when it is registered
// anew; to registries of the plain dialect it says what it always did.
func TestExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r, old := newFakeRegistry(t, n, 7666, false), newFakeRegistry(t, n, 7667, true)
		foyerRoom := client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1), Exits: "n:Study\ns:Caf\u00e9"}
		k := keep(t, newClient(t, n, client.Options{}, r), foyerRoom)
		k.after(15 * time.Second)
		r.do(func() { clear(r.rooms) })
		k.after(time.Minute)
		told := 0
		for _, got := range r.Received() {
			q, err := wire.ParseRequest([]byte(got.Line))
			if err != nil {
				t.Fatal(err)
			}
			if q.Verb != wire.Register {
				if q.Exits != nil {
					t.Errorf("%q tells of exits", got.Line)
				}
				continue
			}
			told++
			if exits, err := foyer.DecodeExits(q.Exits); exits != "n:Study\ns:Caf\u00e9" || err != nil {
				t.Errorf("%q tells of %q, %v", got.Line, exits, err)
			}
		}
		if told != 2 {
			t.Errorf("told %d times", told)
		}

		if _, err := newClient(t, n, client.Options{}, old).Register(t.Context(), foyerRoom); err != nil {
			t.Error(err)
		}
		lines := old.Received()
		if last := lines[len(lines)-1].Line; last != "REGISTER "+string(foyerAt)+" Foyer" {
			t.Errorf("in the plain dialect %q", last)
		}
	})
}

func TestLossyNetwork(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetQueue(1 << 16)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		const rooms, rounds = 100, 25 // and four requests each time
		var failed atomic.Int64
		var all sync.WaitGroup
		for i := range rooms {
			all.Go(func() {
				reg := client.Registration{
					Name:    foyer.Name(fmt.Sprintf("Room %d", i)),
					Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", 1000+i)),
				}
				check := func(what string, err error) {
					if errors.Is(err, client.ErrNoAnswer) {
						failed.Add(1)
					} else if err != nil && failed.Load() == 0 { // requests after a failed one may be refused
						t.Errorf("%s %s: %v", what, reg.Name, err)
					}
				}
				for range rounds {
					_, err := c.Register(t.Context(), reg)
					check("register", err)
					_, err = c.Lookup(t.Context(), reg.Name)
					check("look up", err)
					_, err = c.Renew(t.Context(), reg)
					check("renew", err)
					check("deregister", c.Deregister(t.Context(), reg.Name, nil))
				}
			})
		}
		all.Wait()
		if got, most := failed.Load(), int64(rooms*rounds*4/1000); got > most {
			t.Errorf("%d of %d requests failed, more than %d", got, rooms*rounds*4, most)
		}
		for id, times := range r.effects {
			if times != 1 {
				t.Errorf("request %s took effect %d times", id, times)
			}
		}
		if len(r.effects) != 2*rooms*rounds && failed.Load() == 0 {
			t.Errorf("%d requests took effect", len(r.effects))
		}
		t.Logf("%d of %d failed, %+v", failed.Load(), rooms*rounds*4, n.Stats())
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		p := serve(t, n, office, 7666, udptest.Silent)
		c := newClient(t, n, client.Options{}, p)
		start := time.Now()
		_, err := c.Lookup(t.Context(), "Foyer")
		if took := time.Since(start); took != client.Timeout {
			t.Errorf("took %v", took)
		}
		var silence *client.NoAnswerError
		if !errors.As(err, &silence) || !errors.Is(err, client.ErrNoAnswer) || silence.Err != nil ||
			err.Error() != "registry 192.0.2.2:7666 did not answer within 5 seconds" {
			t.Errorf("got %v", err)
		}
		lines := p.Received()
		if len(lines) < 8 || len(lines) > 10 {
			t.Errorf("%d attempts", len(lines))
		}
		var last time.Duration
		for i := range lines[1:] {
			gap := lines[i+1].At.Sub(lines[i].At)
			if lines[i+1].Line != lines[0].Line {
				t.Errorf("attempt %d is another line", i+1)
			}
			if gap < last*8/10 || gap > time.Second || i == 0 && (gap < 80*time.Millisecond || gap > 120*time.Millisecond) {
				t.Errorf("attempt %d came after %v, the one before after %v", i+1, gap, last)
			}
			last = gap
		}
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		p := serve(t, n, office, 7666, udptest.Silent)
		c := newClient(t, n, client.Options{}, p)
		try := func(ctx context.Context, want time.Duration, is error) {
			t.Helper()
			start := time.Now()
			_, err := c.Lookup(ctx, "Foyer")
			if took := time.Since(start); took != want || !errors.Is(err, client.ErrNoAnswer) || is != nil && !errors.Is(err, is) {
				t.Errorf("after %v: %v", took, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		try(ctx, time.Second, context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		try(ctx, client.Timeout, nil)
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		try(ctx, 2*time.Second, context.Canceled)
		try(ctx, 0, context.Canceled)
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { stop(errors.New("a signal")) })
		try(ctx, time.Second, context.Canceled)
	})
}

func TestForgeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		good := "OK " + string(foyerAt)
		bad := "OK room://198.51.100.3:1"
		otherID := "@id=01890a5d-ac96-774b-bcce-b302099a8057 "
		p := serve(t, n, office, 7666, func(from netip.AddrPort, line string) []string {
			n.Inject(netip.AddrPortFrom(abroad, 7666), from, []byte(udptest.Reply(line, "", bad)))
			n.Inject(netip.AddrPortFrom(office, 7667), from, []byte(udptest.Reply(line, "", bad)))
			n.Inject(netip.AddrPortFrom(abroad, 7666), from, []byte(bad))
			return []string{
				"", "\n", "@", "@id=", "@id=x OK", otherID + bad, "@code=busy NOTOK busy", "@ttl=3 " + bad,
				udptest.Reply(line, ";id="+strings.Repeat("0", 36), bad), udptest.Reply(line, "", "MAYBE"), udptest.Reply(line, "", "OKAY"),
				udptest.Reply(line, "", good) + "\n", bad, "NOTOK Invalid request",
			}
		})
		c := newClient(t, n, client.Options{}, p)
		for range 3 {
			a, err := c.Lookup(t.Context(), "Foyer")
			if err != nil || a.Address != foyerAt {
				t.Errorf("got %v, %v", a, err)
			}
			time.Sleep(time.Second)
		}
		// Once the registry has answered with tags, untagged datagrams are no
		// reason to switch to the plain dialect.
		for _, got := range p.Received() {
			if !strings.HasPrefix(got.Line, "@id=") {
				t.Errorf("sent %q", got.Line)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		for _, code := range foyer.Codes() {
			r.instead(func(line string) ([]string, bool) {
				return []string{udptest.Reply(line, ";code="+string(code), "NOTOK for a reason")}, true
			})
			start := time.Now()
			_, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt})
			var refusal *foyer.Error
			if !errors.As(err, &refusal) || refusal.Code != code || refusal.Text != "for a reason" {
				t.Errorf("%s: got %v", code, err)
			}
			if took := time.Since(start); took != 0 != code.Temporary() || took > client.Timeout {
				t.Errorf("%s: took %v", code, took)
			}
		}
	})
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		r := newFakeRegistry(t, n, 7666, false)
		c := newClient(t, n, client.Options{}, r)
		refusals := 3
		r.instead(func(line string) ([]string, bool) {
			refusals--
			return []string{udptest.Reply(line, ";code=busy", "NOTOK the registry is busy")}, refusals >= 0
		})
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Errorf("busy at first: %v", err)
		}
		lines := r.Received()
		for _, got := range lines {
			if got.Line != lines[0].Line {
				t.Error("a retry is another line")
			}
		}
		// Busy at first, then silent: the request may have been carried out.
		refusals = 1
		r.instead(func(line string) ([]string, bool) {
			if refusals--; refusals < 0 {
				return nil, true
			}
			return []string{udptest.Reply(line, ";code=unavailable", "NOTOK the disk is full")}, true
		})
		_, err := c.Register(t.Context(), reg)
		if !errors.Is(err, client.ErrNoAnswer) || !errors.Is(err, foyer.ErrUnavailable) {
			t.Errorf("busy, then silent: %v", err)
		}
	})
}

func TestClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-time.Hour, 90 * 24 * time.Hour, 30 * 365 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := udptest.New(7)
				n.SetFaults(udptest.Faults{Duplicate: 1, MaxDelay: time.Millisecond, Reorder: 0.5})
				r := newFakeRegistry(t, n, 7666, false)
				r.instead(func(line string) ([]string, bool) {
					tags, _, _ := wire.ParseTags([]byte(line))
					var ms int64
					for _, b := range tags.UUID[:6] {
						ms = ms<<8 | int64(b)
					}
					now := time.Now().Add(skew).UnixMilli()
					if age := now - ms; age > 300_000 || age < -300_000 {
						return []string{udptest.Reply(line, fmt.Sprintf(";code=stale-request;now=%d", now), "NOTOK your clock is wrong")}, true
					}
					return nil, false
				})
				c := newClient(t, n, client.Options{}, r)
				for i := range 20 {
					reg := client.Registration{Name: foyer.Name(fmt.Sprint(i)), Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", i+1))}
					if _, err := c.Register(t.Context(), reg); err != nil {
						t.Fatal(err)
					}
				}
				if len(r.effects) != 20 {
					t.Errorf("%d requests took effect", len(r.effects))
				}
				ids := map[string]bool{}
				for _, got := range r.Received() {
					tags, _, _ := wire.ParseTags([]byte(got.Line))
					ids[string(tags.ID)] = true
				}
				if len(ids) != 21 {
					t.Errorf("%d ids for 20 requests and one correction", len(ids))
				}
			})
		})
	}
	t.Run("hopeless", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(8)
			for _, now := range []string{";now=1", ";now=999999999999999999", ";now=0", ""} {
				r := newFakeRegistry(t, n, 0, false)
				r.instead(func(line string) ([]string, bool) {
					return []string{udptest.Reply(line, ";code=stale-request"+now, "NOTOK never")}, true
				})
				c := newClient(t, n, client.Options{}, r)
				if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, foyer.ErrStaleRequest) {
					t.Errorf("%q: %v", now, err)
				}
				if got := len(r.Received()); got > 3 {
					t.Errorf("%q: %d attempts", now, got)
				}
			}
		})
	})
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(9)
		n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		dead := serve(t, n, office, 7666, udptest.Silent)
		r := newFakeRegistry(t, n, 7667, false)
		c := newClient(t, n, client.Options{}, dead, r)
		start := time.Now()
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if tried, answered := dead.Received(), r.Received(); len(tried) != 2 || tried[0].Line != answered[0].Line {
			t.Errorf("not the same request: %v, %v", tried, answered)
		}
		// The one that answered is asked first from now on.
		start = time.Now()
		if _, err := c.Lookup(t.Context(), "Foyer"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 5*time.Millisecond {
			t.Errorf("took %v", took)
		}
		// A late reply of the first registry counts: it was asked too.
		n.SetFaults(udptest.Faults{})
		r.instead(func(string) ([]string, bool) { return nil, true })
		start = time.Now()
		_, err := c.Lookup(t.Context(), "Foyer")
		if took := time.Since(start); took != client.Timeout ||
			err.Error() != "registries 192.0.2.2:7666, 192.0.2.2:7667 did not answer within 5 seconds" {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestBusyMovesOn checks that the client moves on from a busy registry if there
// is another.
func TestBusyMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(10)
		busy := serve(t, n, office, 7666, func(_ netip.AddrPort, line string) []string {
			return []string{udptest.Reply(line, ";code=unavailable", "NOTOK the disk is full")}
		})
		r := newFakeRegistry(t, n, 7667, false)
		c := newClient(t, n, client.Options{}, busy, r)
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); err != nil {
			t.Error(err)
		}
		if got := len(busy.Received()); got != 1 {
			t.Errorf("asked the busy one %d times", got)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(11)
		p := serve(t, n, office, 7666, udptest.Silent)
		c := newClient(t, n, client.Options{}, p)
		const callers = 3000 // more than may be in flight
		failed := make(chan error, callers)
		for range callers {
			go func() {
				_, err := c.Lookup(t.Context(), "Foyer")
				failed <- err
			}()
		}
		time.Sleep(time.Second)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for range callers {
			if err := <-failed; !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		}
		if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestWrongUse(t *testing.T) {
	for _, registry := range []string{"", "localhost", "localhost:", "localhost:0", "localhost:70000", ":7666", "::1:7666", "a:b:c"} {
		if c, err := client.New(client.Options{Registries: []string{registry}}); err == nil {
			c.Close()
			t.Errorf("registry %q was taken", registry)
		}
	}
	if c, err := client.New(client.Options{Registries: make([]string, 17)}); err == nil {
		c.Close()
		t.Error("17 registries were taken")
	}
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(12)
		p := serve(t, n, office, 7666, udptest.Silent)
		c := newClient(t, n, client.Options{}, p)
		ctx := t.Context()
		want := func(what string, err error, code foyer.Code) {
			t.Helper()
			var refusal *foyer.Error
			if !errors.As(err, &refusal) || refusal.Code != code {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := c.Lookup(ctx, "two  spaces")
		want("look up", err, foyer.BadName)
		_, err = c.Lookup(ctx, "line\nfeed")
		want("look up", err, foyer.BadName)
		_, err = c.Register(ctx, client.Registration{Name: "Foyer", Address: "192.0.2.7:1"})
		want("register", err, foyer.BadAddress)
		_, err = c.Register(ctx, client.Registration{Name: "Foyer", Address: foyerAt, TTL: -1})
		want("register", err, foyer.Malformed)
		_, err = c.Renew(ctx, client.Registration{Name: "Foyer", Address: foyerAt, Key: testKey(1)[:63]})
		want("renew", err, foyer.BadSignature)
		want("deregister", c.Deregister(ctx, "", nil), foyer.BadName)
		if got := p.Received(); len(got) != 0 {
			t.Errorf("sent %v", got)
		}
		alone := newClient(t, n, client.Options{})
		if _, err := alone.Lookup(ctx, "Foyer"); !errors.Is(err, client.ErrNoRegistry) {
			t.Error(err)
		}
	})
}

// TestSystemSockets uses UDP sockets of the system, by default.
func TestSystemSockets(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, wire.MaxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte(udptest.Reply(string(buffer[:n]), "", "OK "+string(foyerAt))), from)
		}
	}()
	defer conn.Close()
	address := conn.LocalAddr().String()
	// The name may stand for ::1 as well, where nobody answers.
	name := fmt.Sprintf("localhost:%d", conn.LocalAddr().(*net.UDPAddr).Port)
	for i, registry := range []string{address, name, address, name} {
		c, err := client.New(client.Options{Registries: []string{registry}, Plain: i >= 2})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := c.Lookup(t.Context(), "Foyer"); err != nil || a.Address != foyerAt {
			t.Errorf("got %v, %v", a, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRubbish: the client does not hang if a registry answers with garbage.
func TestRubbish(t *testing.T) {
	for _, plain := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := udptest.New(14)
			r := newFakeRegistry(t, n, 7666, plain)
			c := newClient(t, n, client.Options{Plain: plain}, r)
			for _, text := range []string{"OK", "OK 192.0.2.7:1", "OK room://192.0.2.7:1 ", "OK room://-:1"} {
				r.instead(func(line string) ([]string, bool) { return []string{udptest.Reply(line, "", text)}, true })
				_, err := c.Lookup(t.Context(), "Foyer")
				if !errors.Is(err, foyer.ErrBadAddress) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%q: %v", text, err)
				}
				if _, err := c.Renew(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); plain && !errors.Is(err, foyer.ErrBadAddress) {
					t.Errorf("%q: %v", text, err)
				}
			}
		})
	}
}

// TestNoSockets: the system has none left.
func TestNoSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(15)
		p := serve(t, n, office, 7666, udptest.Silent)
		left := 0
		none := errors.New("too many open files")
		o := client.Options{Registries: []string{p.AddrPort().String()}, Plain: true}
		seam.Client(&o, seam.Seam{Listen: func() (udp.PacketConn, error) {
			if left--; left < 0 {
				return nil, none
			}
			return n.Listen(netip.AddrPortFrom(home, 0))
		}})
		if _, err := client.New(o); !errors.Is(err, none) {
			t.Error(err)
		}
		left = 1
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Lookup(t.Context(), "Foyer"); !errors.Is(err, none) || !errors.Is(err, client.ErrNoAnswer) {
			t.Error(err)
		}
	})
}

// TestLocalAddr: requests come from the address that is asked for, in both
// dialects.
func TestLocalAddr(t *testing.T) {
	registry, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	for _, plain := range []bool{false, true} {
		o := client.Options{Registries: []string{registry.LocalAddr().String()}, Plain: plain, LocalAddr: netip.MustParseAddr("127.0.0.1")}
		if runtime.GOOS == "linux" { // has all of 127.0.0.0/8
			o.LocalAddr = netip.MustParseAddr("127.0.0.2")
		}
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			c.Lookup(ctx, "Foyer")
		}()
		if _, from, err := registry.ReadFromUDPAddrPort(make([]byte, 2000)); err != nil || from.Addr().Unmap() != o.LocalAddr {
			t.Errorf("plain %v: asked from %v, %v", plain, from, err)
		}
		cancel()
		<-asked
		c.Close()
	}
	if c, err := client.New(client.Options{LocalAddr: netip.MustParseAddr("192.0.2.1")}); err == nil {
		c.Close()
		t.Error("another machine's address is taken")
	}
}

// TestIPv6 asks a registry by its IPv6 address.
func TestIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(16)
		there, here := netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1")
		serve(t, n, there, 7666, func(_ netip.AddrPort, line string) []string {
			return []string{udptest.Reply(line, "", "OK room://[2001:DB8:0::2]:7666")}
		})
		o := client.Options{Registries: []string{"[2001:db8::2]:7666"}}
		seam.Client(&o, seam.Seam{Listen: func() (udp.PacketConn, error) { return n.Listen(netip.AddrPortFrom(here, 0)) }})
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := c.Lookup(t.Context(), "Foyer")
		if err != nil || a.Address != "room://[2001:db8::2]:7666" {
			t.Errorf("got %v, %v", a, err)
		}
	})
}

// TestCrowd: requests that wait in vain for others to finish report that.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(13)
		p := serve(t, n, office, 7666, udptest.Silent)
		c := newClient(t, n, client.Options{}, p)
		var crowded atomic.Int64
		var all sync.WaitGroup
		for range 1100 {
			all.Go(func() {
				_, err := c.Lookup(t.Context(), "Foyer")
				if !errors.Is(err, client.ErrNoAnswer) {
					t.Error(err)
				} else if strings.HasSuffix(err.Error(), "in flight all the time") {
					crowded.Add(1)
				}
			})
		}
		all.Wait()
		if got := crowded.Load(); got > 1100-1024 {
			t.Errorf("%d were crowded out", got)
		}
	})
}
