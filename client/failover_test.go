package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
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

// A cluster is equal registries of one world. Each can be silenced, or made to
// answer otherwise.
type cluster struct {
	*fakeRegistry // the first one, which has the world
	peers         []*udptest.Peer

	mu      sync.Mutex
	instead []func(line string) []string
}

func newCluster(t testing.TB, n *udptest.Network, size int, plain bool) *cluster {
	c := &cluster{
		fakeRegistry: &fakeRegistry{plain: plain, rooms: map[string]registered{}, outcomes: map[string]string{}, effects: map[string]int{}},
		instead:      make([]func(string) []string, size),
	}
	for i := range size {
		c.peers = append(c.peers, serve(t, n, office, uint16(7666+i), func(from netip.AddrPort, line string) []string {
			c.mu.Lock()
			instead := c.instead[i]
			c.mu.Unlock()
			if instead != nil {
				return instead(line)
			}
			return c.answer(from, line)
		}))
	}
	c.Peer = c.peers[0]
	return c
}

// set makes registry i answer by f; with nil it is well again.
func (c *cluster) set(i int, f func(line string) []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instead[i] = f
}

func (c *cluster) client(t testing.TB, n *udptest.Network, o client.Options) *client.Client {
	for _, p := range c.peers {
		o.Registries = append(o.Registries, p.AddrPort().String())
	}
	return newClient(t, n, o)
}

// asked returns how many datagrams each has got.
func (c *cluster) asked() (counts []int) {
	for _, p := range c.peers {
		counts = append(counts, len(p.Received()))
	}
	return counts
}

func silent(string) []string { return nil }

func refusing(code string) func(line string) []string {
	return func(line string) []string { return []string{udptest.Reply(line, ";code="+code, "NOTOK "+code)} }
}

// millisecond is a network on which a request and its reply take 2 ms.
func millisecond(seed uint64) *udptest.Network {
	n := udptest.New(seed)
	n.SetFaults(udptest.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
	return n
}

// timed looks a room up and returns how long that took.
func timed(t *testing.T, c *client.Client) time.Duration {
	t.Helper()
	start := time.Now()
	if a, err := c.Lookup(t.Context(), "Foyer"); err != nil || a.Address != foyerAt {
		t.Errorf("got %v, %v", a, err)
	}
	return time.Since(start)
}

func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(1)
		r := newCluster(t, n, 3, false)
		c := r.client(t, n, client.Options{})
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			timed(t, c)
		}
		if got := r.asked(); !slices.Equal(got, []int{21, 0, 0}) {
			t.Fatalf("asked %v while all is well", got)
		}
		// The second one is asked the same after the usual time, at least 20 ms.
		r.set(0, silent)
		if took := timed(t, c); took != 22*time.Millisecond {
			t.Errorf("took %v", took)
		}
		first, second := r.peers[0].Received(), r.peers[1].Received()
		if len(first) != 22 || len(second) != 1 || first[21].Line != second[0].Line {
			t.Errorf("asked %v and %v", first[21:], second)
		}
		// And first from now on; the silent one is left alone.
		r.set(0, nil)
		for range 20 {
			if took := timed(t, c); took != 2*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		if got := r.asked(); !slices.Equal(got, []int{22, 21, 0}) {
			t.Errorf("asked %v when the first was silent", got)
		}
		// Until nothing else answers.
		r.set(1, silent)
		r.set(2, silent)
		if took := timed(t, c); took > 250*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got := r.asked(); got[0] != 23 {
			t.Errorf("asked %v when the others were silent", got)
		}
	})
}

// TestUsualTime: a registry that takes 60 ms for every change is not late with one
// after 20 ms, but is with a look-up, which it answers at once otherwise.
func TestUsualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(2)
		r := newCluster(t, n, 2, false)
		slow := func(line string) []string {
			q, err := wire.ParseRequest([]byte(line))
			if err == nil && q.Verb == wire.Register {
				time.Sleep(60 * time.Millisecond)
			}
			return r.answer(netip.AddrPort{}, line)
		}
		r.set(0, slow)
		c := r.client(t, n, client.Options{})
		register := func(i int) {
			if _, err := c.Register(t.Context(), client.Registration{Name: foyer.Name(fmt.Sprint(i)), Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", i+1))}); err != nil {
				t.Error(err)
			}
		}
		for i := range 20 {
			register(i)
			c.Lookup(t.Context(), "0")
		}
		if got := r.asked(); got[1] != 0 {
			t.Errorf("the second one was asked %d times", got[1])
		}
		// A look-up that takes as long is late all the same.
		r.set(0, func(line string) []string {
			time.Sleep(60 * time.Millisecond)
			return r.answer(netip.AddrPort{}, line)
		})
		start := time.Now()
		if _, err := c.Lookup(t.Context(), "0"); err != nil || time.Since(start) != 22*time.Millisecond {
			t.Errorf("took %v, %v", time.Since(start), err)
		}
	})
}

func TestAllSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newCluster(t, n, 3, false)
		c := r.client(t, n, client.Options{})
		for i := range r.peers {
			r.set(i, silent)
		}
		for range 3 { // the second and third time all are left alone
			start := time.Now()
			_, err := c.Lookup(t.Context(), "Foyer")
			if took := time.Since(start); took != client.Timeout ||
				err.Error() != "registries 192.0.2.2:7666, 192.0.2.2:7667, 192.0.2.2:7668 did not answer within 5 seconds" {
				t.Errorf("after %v: %v", took, err)
			}
		}
		all := 0
		for i, p := range r.peers {
			lines := p.Received()
			ids := map[string]bool{}
			for _, got := range lines {
				ids[got.Line] = true
			}
			if len(lines) < 6 || len(ids) != 3 {
				t.Errorf("registry %d got %d datagrams of %d requests", i, len(lines), len(ids))
			}
			all += len(lines)
		}
		if all > 3*(10+2) { // ten attempts, and one at each of the others
			t.Errorf("%d datagrams", all)
		}
		// As soon as one of them is back, it answers.
		r.set(2, nil)
		r.do(func() { r.rooms["Foyer"] = registered{address: string(foyerAt)} })
		if took := timed(t, c); took > 500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(4)
		r := newCluster(t, n, 3, false)
		c := r.client(t, n, client.Options{})
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		r.set(0, refusing("unavailable"))
		r.set(1, refusing("busy"))
		start := time.Now()
		if _, err := c.Register(t.Context(), reg); err != nil || time.Since(start) != 6*time.Millisecond {
			t.Errorf("one can serve requests: %v after %v", err, time.Since(start))
		}
		var lines []string
		for i, p := range r.peers {
			got := p.Received()
			if len(got) != 1 {
				t.Fatalf("registry %d got %v", i, got)
			}
			lines = append(lines, got[0].Line)
		}
		if lines[0] != lines[1] || lines[1] != lines[2] {
			t.Errorf("different requests: %q", lines)
		}
		// If all say so, nothing has changed.
		r.set(1, refusing("unavailable"))
		r.set(2, refusing("unavailable"))
		start = time.Now()
		_, err := c.Register(t.Context(), reg)
		if took := time.Since(start); took != client.Timeout || !errors.Is(err, foyer.ErrUnavailable) || errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("all say so: %v after %v", err, took)
		}
		// If one says nothing, it may have.
		r.set(1, silent)
		if _, err = c.Register(t.Context(), reg); !errors.Is(err, foyer.ErrUnavailable) || !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("two say so: %v", err)
		}
	})
}

// TestLateAnswer: what the first registry answers after the second one is of no
// use any more, not to the next request either.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(5)
		r := newCluster(t, n, 2, false)
		c := r.client(t, n, client.Options{})
		answered := make(chan struct{})
		r.set(0, func(line string) []string {
			<-answered
			return []string{udptest.Reply(line, ";code=name-taken", "NOTOK too late")}
		})
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Error(err)
		}
		close(answered)
		if err := c.Deregister(t.Context(), reg.Name, nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if _, err := c.Register(t.Context(), reg); err != nil {
			t.Error(err)
		}
		if len(r.effects) != 3 {
			t.Errorf("%d requests took effect", len(r.effects))
		}
	})
}

// TestOnceOverRegistries: whichever registries a request reaches, it takes effect
// once, and its outcome is that of its first copy.
func TestOnceOverRegistries(t *testing.T) {
	s := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(s)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, MinDelay: time.Millisecond, MaxDelay: 30 * time.Millisecond})
		r := newCluster(t, n, 3, false)
		c := r.client(t, n, client.Options{})
		const rooms, rounds = 20, 25
		var silent atomic.Int64 // of so many requests one may get no answer
		check := func(err error) {
			if errors.Is(err, client.ErrNoAnswer) {
				silent.Add(1)
			} else if err != nil && silent.Load() == 0 {
				t.Error(err)
			}
		}
		var all sync.WaitGroup
		for i := range rooms {
			all.Go(func() {
				reg := client.Registration{Name: foyer.Name(fmt.Sprint(i)), Address: foyer.Address(fmt.Sprintf("room://192.0.2.7:%d", i+1))}
				for range rounds {
					_, err := c.Register(t.Context(), reg)
					check(err)
					check(c.Deregister(t.Context(), reg.Name, nil))
				}
			})
		}
		all.Wait()
		if silent.Load() == 0 && len(r.effects) != 2*rooms*rounds || silent.Load() > rooms*rounds/100 {
			t.Errorf("%d requests took effect, not %d; %d got no answer", len(r.effects), 2*rooms*rounds, silent.Load())
		}
		for id, times := range r.effects {
			if times != 1 {
				t.Errorf("request %s took effect %d times", id, times)
			}
		}
		for i, asked := range r.asked() {
			if asked == 0 {
				t.Errorf("registry %d was never asked", i)
			}
		}
	})
}

// TestPlainRegistries: in the plain dialect, a change goes on to the next registry
// only with the third attempt, and that the second one has it already is no
// refusal. A look-up is hedged.
func TestPlainRegistries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(6)
		r := newCluster(t, n, 2, true)
		c := r.client(t, n, client.Options{Plain: true})
		silence := func(line string) []string {
			r.answer(netip.AddrPort{}, line)
			return nil
		}
		r.set(0, silence)
		reg := client.Registration{Name: "Foyer", Address: foyerAt}
		start := time.Now()
		if _, err := c.Register(t.Context(), reg); err != nil || time.Since(start) < 200*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if got := r.peers[0].Received(); len(got) != 2 {
			t.Errorf("the first one got %v", got)
		}
		r.set(0, nil)
		r.set(1, silence)
		start = time.Now()
		if err := c.Deregister(t.Context(), reg.Name, nil); err != nil || time.Since(start) < 200*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		r.do(func() { r.rooms["Foyer"] = registered{address: string(foyerAt)} })
		r.set(0, silence)
		r.set(1, nil)
		if took := timed(t, c); took > 130*time.Millisecond {
			t.Errorf("a look-up took %v", took)
		}
	})
}

// TestLeaseOverRegistries: a lease is renewed by any registry; those that are
// silent or unavailable are passed over.
func TestLeaseOverRegistries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(7)
		r := newCluster(t, n, 3, false)
		l := keep(t, r.client(t, n, client.Options{}), client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
		expect(t, "at first", l.after(time.Minute), client.Registered)
		r.set(0, silent)
		expect(t, "one is silent", l.after(time.Minute))
		r.set(1, refusing("unavailable"))
		expect(t, "another one is unavailable", l.after(time.Minute))
		r.set(2, silent)
		expect(t, "none answers", l.after(time.Minute), client.Silent)
		r.set(0, nil)
		expect(t, "one is back", l.after(time.Minute), client.Answering)
		var last time.Time
		for _, p := range r.peers {
			for _, got := range p.Received() {
				if strings.Contains(got.Line, "RENEW") && got.At.After(last) {
					last = got.At
				}
			}
		}
		if since := time.Since(last); since > 11*time.Second {
			t.Errorf("last renewed %v ago", since)
		}
	})
}

// TestLaggingRegistry: a registry that is behind the others does not end a lease.
func TestLaggingRegistry(t *testing.T) {
	for _, code := range []string{"unknown-name", "replaced", "not-owner"} {
		synctest.Test(t, func(t *testing.T) {
			n := millisecond(8)
			r := newCluster(t, n, 2, false)
			l := keep(t, r.client(t, n, client.Options{}), client.Registration{Name: "Foyer", Address: foyerAt, TTL: 30 * time.Second})
			expect(t, code+": at first", l.after(time.Second), client.Registered)
			r.set(0, silent)
			r.set(1, func(line string) []string { // until it has caught up
				if strings.Contains(line, "RENEW") {
					r.set(1, nil)
					return refusing(code)(line)
				}
				return r.answer(netip.AddrPort{}, line)
			})
			expect(t, code+": while it is behind", l.after(20*time.Second))
			if err := l.Err(); err != nil {
				t.Errorf("%s: %v", code, err)
			}
			// What is still so a second later ends it.
			r.do(func() { r.rooms["Foyer"] = registered{address: "room://192.0.2.7:1"} })
			if err := l.ended(t); !errors.Is(err, foyer.ErrReplaced) {
				t.Errorf("%s: %v", code, err)
			}
		})
	}
}

// TestNames: each address of a name is a registry, 16 at most, and names are
// resolved anew when none answers.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(9)
		host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}) }
		addresses := map[string][]netip.Addr{"one.example": {host(0), host(1)}, "two.example": {host(2), host(0)}}
		var resolved atomic.Int64
		o := client.Options{Registries: []string{"one.example:7666", "two.example:7666"}}
		seam.Client(&o, seam.Seam{
			Listen: func() (udp.PacketConn, error) { return n.Listen(netip.AddrPortFrom(home, 0)) },
			Rand:   rand.NewChaCha8([32]byte{1}),
			Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
				resolved.Add(1)
				return addresses[host], nil
			},
		})
		c, err := client.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var peers []*udptest.Peer
		for i := range 20 {
			peers = append(peers, serve(t, n, host(i), 7666, func(_ netip.AddrPort, line string) []string {
				if i != 1 && i != 19 {
					return nil
				}
				return []string{udptest.Reply(line, "", "OK "+string(foyerAt))}
			}))
		}
		// The first address of each name, and then the second one.
		if took := timed(t, c); took > 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if a, b, d := peers[0].Received(), peers[2].Received(), peers[1].Received(); len(d) != 1 || len(a) == 0 || len(b) == 0 || b[0].At.After(d[0].At) {
			t.Errorf("asked %v, %v, %v", a, b, d)
		}
		// They move to too many addresses, of which only the first ones count.
		addresses["one.example"], addresses["two.example"] = nil, []netip.Addr{host(2), host(18)}
		for i := 2; i < 18; i++ {
			addresses["one.example"] = append(addresses["one.example"], host(i))
		}
		time.Sleep(time.Minute)
		start := time.Now()
		_, err = c.Lookup(t.Context(), "Foyer")
		if took := time.Since(start); took != client.Timeout || err.Error() != "registries one.example:7666, two.example:7666 did not answer within 5 seconds" {
			t.Errorf("after %v: %v", took, err)
		}
		for i := 3; i < 19; i++ { // the second one's 18 comes before the first one's 17
			if got := len(peers[i].Received()) > 0; got != (i != 17) {
				t.Errorf("registry %d was asked: %t", i, got)
			}
		}
		// And to another one, at once.
		addresses["two.example"] = []netip.Addr{host(19)}
		before := resolved.Load()
		if took := timed(t, c); took > 300*time.Millisecond || resolved.Load() != before+2 {
			t.Errorf("took %v, and resolved %d names", took, resolved.Load()-before)
		}
	})
}

// TestLeftAlone: of two others, the one that was silent lately is asked last.
func TestLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(10)
		r := newCluster(t, n, 3, false)
		r.do(func() { r.rooms["Foyer"] = registered{address: string(foyerAt)} })
		c := r.client(t, n, client.Options{})
		r.set(0, silent)
		timed(t, c) // the second one answers
		r.set(1, silent)
		timed(t, c) // the third one does, without the first one
		if got := r.asked(); got[0] > 2 {
			t.Errorf("asked %v", got)
		}
	})
}

// TestPlainAfterHedge: a registry that turns out to speak only the plain dialect is
// not sent a change while another one has it.
func TestPlainAfterHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := millisecond(11)
		r := newCluster(t, n, 2, true)
		second := make(chan struct{}) // has it
		r.set(0, func(line string) []string {
			<-second
			return r.answer(netip.AddrPort{}, line)
		})
		r.set(1, func(line string) []string {
			if strings.HasPrefix(line, "REGISTER") {
				close(second)
				time.Sleep(10 * time.Millisecond)
			}
			return r.answer(netip.AddrPort{}, line)
		})
		c := r.client(t, n, client.Options{})
		if _, err := c.Register(t.Context(), client.Registration{Name: "Foyer", Address: foyerAt}); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		changes := 0
		for _, p := range r.peers {
			for _, got := range p.Received() {
				if strings.HasPrefix(got.Line, "REGISTER") {
					changes++
				}
			}
		}
		if changes != 1 {
			t.Errorf("%d plain attempts", changes)
		}
	})
}
