package client_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/testenv"
	"foyer/internal/udptest"
)

func TestPlainFallback(t *testing.T) {
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprintf("Plain=%t", only), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := udptest.New(1)
				n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
				r := newFakeRegistry(t, n, 7666, true)
				c := newClient(t, n, client.Options{Plain: only}, r)
				ctx := t.Context()
				reg := client.Registration{Name: "Great Hall", Address: foyerAt, TTL: 30 * time.Second, Key: testKey(1)}
				if _, err := c.Renew(ctx, reg); !errors.Is(err, foyer.ErrUnknownName) {
					t.Errorf("renew of nothing: %v", err)
				}
				if granted, err := c.Register(ctx, reg); granted != 0 || err != nil {
					t.Errorf("register: %v, %v", granted, err)
				}
				if a, err := c.Lookup(ctx, reg.Name); a.Address != foyerAt || err != nil {
					t.Errorf("look-up: %v, %v", a, err)
				}
				if _, err := c.Renew(ctx, reg); err != nil {
					t.Errorf("renew: %v", err)
				}
				other := reg
				other.Address = "room://192.0.2.7:40002"
				if _, err := c.Renew(ctx, other); !errors.Is(err, foyer.ErrReplaced) {
					t.Errorf("renew of another address: %v", err)
				}
				if _, err := c.Register(ctx, other); !errors.Is(err, foyer.ErrNameTaken) {
					t.Errorf("register of another address: %v", err)
				}
				if _, err := c.Register(ctx, reg); !errors.Is(err, foyer.ErrNameTaken) {
					t.Errorf("register again: %v", err)
				}
				var refusal *foyer.Error
				elsewhere := reg
				elsewhere.Name = "Small Hall"
				if _, err := c.Register(ctx, elsewhere); !errors.As(err, &refusal) || refusal.Code != "" || refusal.Text != "address is already registered" {
					t.Errorf("register of a taken address: %v", err)
				}
				if err := c.Deregister(ctx, reg.Name, reg.Key); err != nil {
					t.Errorf("deregister: %v", err)
				}
				if err := c.Deregister(ctx, reg.Name, reg.Key); !errors.Is(err, foyer.ErrUnknownName) {
					t.Errorf("deregister again: %v", err)
				}
				tagged := 0
				sources := map[netip.AddrPort]bool{}
				for _, got := range r.Received() {
					if strings.HasPrefix(got.Line, "@") {
						tagged++
					} else if sources[got.From] {
						t.Errorf("%q came from where another request came from", got.Line)
					} else {
						sources[got.From] = true
					}
				}
				if want := map[bool]int{false: 1}[only]; tagged != want {
					t.Errorf("%d tagged requests, want %d", tagged, want)
				}
				// Later tags are tried again.
				time.Sleep(time.Hour)
				r.do(func() { r.plain = only })
				if _, err := c.Lookup(ctx, reg.Name); !errors.Is(err, foyer.ErrUnknownName) {
					t.Error(err)
				}
				lines := r.Received()
				if got := strings.HasPrefix(lines[len(lines)-1].Line, "@"); got == only {
					t.Errorf("after an hour: %q", lines[len(lines)-1].Line)
				}
			})
		})
	}
}

// TestPlainFallbackOfMany checks that all requests in flight switch to the
// plain dialect when a registry turns out to be plain.
func TestPlainFallbackOfMany(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetFaults(udptest.Faults{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, MaxDelay: 10 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, true)
		c := newClient(t, n, client.Options{}, r)
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() {
				reg := client.Registration{Name: foyer.Name(fmt.Sprint(i)), Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", i+1))}
				if _, err := c.Register(t.Context(), reg); errors.Is(err, client.ErrNoAnswer) {
					return // happens now and then, and is not the client's fault
				} else if err != nil && !errors.Is(err, foyer.ErrNameTaken) {
					t.Errorf("register %v: %v", reg.Name, err)
				}
				if a, err := c.Lookup(t.Context(), reg.Name); err == nil && a.Address != reg.Address {
					t.Errorf("look up %v: %v", reg.Name, a)
				} else if err != nil && !errors.Is(err, client.ErrNoAnswer) {
					t.Errorf("look up %v: %v", reg.Name, err)
				}
			})
		}
		all.Wait()
	})
}

// TestPlainLostReply: in the plain dialect a retry is refused because of the
// attempt before it, whose reply was lost.
func TestPlainLostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		r := newFakeRegistry(t, n, 7666, true)
		c := newClient(t, n, client.Options{Plain: true}, r)
		lose := func(replies int) {
			n.SetFilter(func(from, _ netip.AddrPort, _ []byte) bool {
				if from == r.AddrPort() {
					replies--
				}
				return replies < 0 || from != r.AddrPort()
			})
		}
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		lose(1)
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Errorf("register: %v", err)
		}
		lose(2)
		if err := c.Deregister(t.Context(), reg.Name, nil); err != nil {
			t.Errorf("deregister: %v", err)
		}
		r.do(func() { r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"} })
		lose(1)
		if _, err := c.Register(t.Context(), reg); !errors.Is(err, foyer.ErrNameTaken) {
			t.Errorf("register of what another has: %v", err)
		}
		// The attempt may have been carried out, and nobody can say.
		lose(1)
		r.instead(func(line string) ([]string, bool) {
			if strings.HasPrefix(line, "LOOKUP") {
				return nil, true
			}
			return []string{"NOTOK taken"}, true
		})
		if _, err := c.Register(t.Context(), reg); !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("register without being able to look up: %v", err)
		}
	})
}

// TestMixed asks a registry with tags and one without in turn.
func TestMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		old, new := newFakeRegistry(t, n, 7666, true), newFakeRegistry(t, n, 7667, false)
		c := newClient(t, n, client.Options{}, old, new)
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Error(err)
		}
		old.instead(func(string) ([]string, bool) { return nil, true })
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Error(err)
		}
		if got := new.Received(); len(got) != 1 || !strings.HasPrefix(got[0].Line, "@id=") {
			t.Errorf("got %v", got)
		}
	})
}

// TestPlainFallbackSlow: several replies to tagged attempts are in flight when
// the first one arrives; each request continues with one plain attempt.
func TestPlainFallbackSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		n.SetFaults(udptest.Faults{MinDelay: 400 * time.Millisecond, MaxDelay: 400 * time.Millisecond})
		r := newFakeRegistry(t, n, 7666, true)
		c := newClient(t, n, client.Options{}, r)
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		registers := 0
		for _, got := range r.Received() {
			if strings.HasPrefix(got.Line, "REGISTER") {
				registers++
			}
		}
		if registers > 3 {
			t.Errorf("%d plain attempts", registers)
		}
	})
}
