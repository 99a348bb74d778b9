package room_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
	"foyer/player"
	"foyer/room"
	"foyer/world"
)

// bad is a network on which a fifth of everything is lost each way.
var bad = udptest.Faults{
	Loss: 0.2, Duplicate: 0.1, Reorder: 0.1,
	MinDelay: time.Millisecond, MaxDelay: 15 * time.Millisecond,
}

var roomHost = netip.MustParseAddr("192.0.2.1")

// host returns the host of the i-th player.
func host(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}) }

// serve starts a server on net, which runs until stop is called. stop returns
// what Serve returned. It must run in a bubble.
func serve(t *testing.T, net *udptest.Network, things ...string) (address foyer.Address, server *room.Server, stop func() error) {
	t.Helper()
	conn, err := net.Listen(netip.AddrPortFrom(roomHost, 0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := world.New("Hall", "A hall.", map[foyer.Direction]foyer.Name{foyer.North: "Kitchen"}, things)
	if err != nil {
		t.Fatal(err)
	}
	server = room.New(conn, r, room.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	address, err = foyer.AddressOf(roomHost.String(), conn.AddrPort().Port())
	if err != nil {
		t.Fatal(err)
	}
	return address, server, sync.OnceValue(func() error {
		cancel()
		defer conn.Close()
		return <-served
	})
}

// options returns the options of a player on the i-th host.
func options(net *udptest.Network, i int) (o player.Options) {
	seam.Player(&o, seam.Seam{Listen: func() (udp.PacketConn, error) { return net.Listen(netip.AddrPortFrom(host(i), 0)) }})
	return o
}

// join has a player enter the room from the i-th host.
func join(t *testing.T, net *udptest.Network, address foyer.Address, name string, i int) *player.Session {
	t.Helper()
	s, _, err := player.Join(t.Context(), address, name, options(net, i))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// joinAll has n players enter, called P0, P1 and so on.
func joinAll(t *testing.T, net *udptest.Network, address foyer.Address, n int) (sessions []*player.Session) {
	t.Helper()
	for i := range n {
		sessions = append(sessions, join(t, net, address, fmt.Sprint("P", i), i))
	}
	return sessions
}

// listener collects a session's messages until it is over.
type listener struct {
	heard []string
	done  chan struct{}
}

func listen(s *player.Session) *listener {
	l := &listener{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for text := range s.Messages() {
			l.heard = append(l.heard, text)
		}
	}()
	return l
}

// TestEverythingOnce: over a bad network, players who all talk and take at the
// same time hear everything once and in order, and nothing is taken twice.
func TestEverythingOnce(t *testing.T) {
	const players, coins, sayings = 6, 60, 40
	n := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(n)
		address, server, stop := serve(t, net, slices.Repeat([]string{"coin"}, coins)...)

		sessions := joinAll(t, net, address, players)
		var listeners [players]*listener
		for i, s := range sessions {
			listeners[i] = listen(s)
		}
		net.SetFaults(bad)
		// On such a network one request in ten thousand is not answered within
		// its 5 seconds; it may have had an effect then, but only once.
		var taken, perhapsTaken [players]int
		var said, perhapsSaid [players][]int
		var all sync.WaitGroup
		for i, s := range sessions {
			all.Go(func() {
				for k := range sayings {
					switch reply, err := s.Do(t.Context(), fmt.Sprint("say ", k)); {
					case errors.Is(err, client.ErrNoAnswer):
						perhapsSaid[i] = append(perhapsSaid[i], k)
					case err != nil || reply.Text != fmt.Sprintf(`You said "%d".`, k):
						t.Errorf("P%d says %d: %q, %v", i, k, reply.Text, err)
					default:
						said[i] = append(said[i], k)
					}
					switch reply, err := s.Do(t.Context(), "take coin"); {
					case errors.Is(err, client.ErrNoAnswer):
						perhapsTaken[i]++
					case err != nil:
						t.Errorf("P%d takes: %v", i, err)
					case reply.OK:
						taken[i]++
					}
				}
			})
		}
		all.Wait()
		least, most := 0, 0
		for i := range players {
			least += taken[i]
			most += taken[i] + perhapsTaken[i]
		}
		if least > coins || most < coins {
			t.Errorf("of %d coins %d to %d were taken", coins, least, most)
		}
		if text := server.Summary(); strings.Contains(text, "coin") {
			t.Errorf("the room still has some:\n%s", text)
		}
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		for i, l := range listeners {
			<-l.done
			if err := sessions[i].Err(); !errors.Is(err, player.ErrDisconnected) {
				t.Errorf("P%d: the session ended with %v", i, err)
			}
			heard := map[string][]int{}
			others := 0
			for _, text := range l.heard {
				who, what, ok := strings.Cut(strings.TrimSuffix(text, `".`), ` said "`)
				if !ok {
					others++
					continue
				}
				k, _ := strconv.Atoi(what)
				heard[who] = append(heard[who], k)
			}
			if want := players - 1 - i; others != want { // who came later
				t.Errorf("P%d heard of %d others coming, want %d", i, others, want)
			}
			for j := range players {
				if j == i {
					continue
				}
				got := slices.DeleteFunc(heard[fmt.Sprint("P", j)], func(k int) bool { return slices.Contains(perhapsSaid[j], k) })
				if !slices.Equal(got, said[j]) {
					t.Errorf("P%d heard from P%d %v, want %v", i, j, got, said[j])
				}
			}
		}
	})
}

// TestFastTalker: a client that talks as fast as it gets replies loses nothing
// for others on a good network.
func TestFastTalker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		net.SetFaults(udptest.Faults{MinDelay: 100 * time.Microsecond, MaxDelay: 200 * time.Microsecond})
		address, _, stop := serve(t, net)
		defer stop()
		sessions := joinAll(t, net, address, 3)
		listeners := []*listener{listen(sessions[1]), listen(sessions[2])}
		const sayings = 2000
		start := time.Now()
		for k := range sayings {
			if reply, err := sessions[0].Do(t.Context(), fmt.Sprint("say ", k)); err != nil || !reply.OK {
				t.Fatalf("%d: %v, %v", k, reply, err)
			}
		}
		t.Logf("%d in %v", sayings, time.Since(start))
		stop()
		for _, l := range listeners {
			<-l.done
			l.heard = slices.DeleteFunc(l.heard, func(s string) bool { return !strings.HasPrefix(s, "P0 said") })
			if len(l.heard) != sayings || l.heard[sayings-1] != fmt.Sprintf(`P0 said "%d".`, sayings-1) {
				t.Errorf("heard %d of %d", len(l.heard), sayings)
			}
		}
	})
}

// TestIdlePlayersStay: acknowledgements alone keep a player in the room, even
// on a bad network; without a network they count as gone.
func TestIdlePlayersStay(t *testing.T) {
	n := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(n)
		address, server, stop := serve(t, net, "lamp")
		defer stop()
		s := join(t, net, address, "Ann", 0)
		if _, err := s.Do(t.Context(), "take lamp"); err != nil {
			t.Fatal(err)
		}
		net.SetFaults(bad)
		time.Sleep(20 * time.Minute)
		if got := server.Players(); len(got) != 1 {
			t.Fatalf("after 20 minutes of silence: %v", got)
		}
		net.Partition([]netip.Addr{roomHost}, []netip.Addr{host(0)})
		time.Sleep(31 * time.Second)
		if got := server.Players(); len(got) != 0 {
			t.Errorf("after half a minute out of reach: %v", got)
		}
		if text := server.Summary(); !strings.HasSuffix(text, "there is:\n  lamp") {
			t.Errorf("what she held is not there:\n%s", text)
		}
		net.Heal()
		net.SetFaults(udptest.Faults{})
		if _, err := s.Do(t.Context(), "look"); !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("back again: %v", err) // the client has noticed, too
		}
	})
}

// TestFarewellOverBadNetwork: players are told that the room closes within
// about a second, even on a bad network.
func TestFarewellOverBadNetwork(t *testing.T) {
	n := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(n)
		address, _, stop := serve(t, net)
		const players = 8
		sessions := joinAll(t, net, address, players)
		var listeners [players]*listener
		for i, s := range sessions {
			listeners[i] = listen(s)
		}
		net.SetFaults(bad)
		start := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 1100*time.Millisecond {
			t.Errorf("closing took %v", took)
		}
		for i, l := range listeners {
			<-l.done
			if err := sessions[i].Err(); !errors.Is(err, player.ErrDisconnected) {
				t.Errorf("P%d: %v", i, err)
			}
		}
	})
}

// TestFarewellToTheDead: an unreachable player keeps the room open for no more
// than a second, and a room without players closes at once.
func TestFarewellToTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		address, _, stop := serve(t, net)
		s := join(t, net, address, "Ann", 0)
		net.Partition([]netip.Addr{roomHost}, []netip.Addr{host(0)})
		start := time.Now()
		stop()
		if took := time.Since(start); took != time.Second {
			t.Errorf("closing took %v", took)
		}
		s.Close()

		_, server, stop := serve(t, net)
		start = time.Now()
		stop()
		if took := time.Since(start); took != 0 {
			t.Errorf("closing an empty room took %v", took)
		}
		if server.Players() != nil || server.Summary() != "" {
			t.Error("a closed room answers")
		}
	})
}

// TestBeforeServe: Summary and Players work before Serve.
func TestBeforeServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, err := udptest.New(1).Listen(netip.AddrPortFrom(roomHost, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r, err := world.New("Foyer", "A round hall.", nil, []string{"lamp"})
		if err != nil {
			t.Fatal(err)
		}
		server := room.New(conn, r, room.Options{})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		var asking sync.WaitGroup
		var answered atomic.Int32
		for range 10 {
			asking.Go(func() {
				defer answered.Add(1)
				if text := server.Summary(); !strings.HasSuffix(text, "there is:\n  lamp") {
					t.Errorf("the summary is %q", text)
				}
				if players := server.Players(); len(players) != 0 {
					t.Errorf("there are %v", players)
				}
			})
		}
		synctest.Wait()
		if n := answered.Load(); n != 10 {
			t.Errorf("before Serve %d of 10 were answered", n)
		}
		asking.Go(func() { server.Summary() }) // while it starts
		go func() { served <- server.Serve(ctx) }()
		asking.Wait()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// TestSocketFails: Serve ends when its socket does.
func TestSocketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		conn, err := net.Listen(netip.AddrPortFrom(roomHost, 0))
		if err != nil {
			t.Fatal(err)
		}
		r, err := world.New("Hall", "A hall.", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- room.New(conn, r, room.Options{}).Serve(t.Context()) }()
		synctest.Wait()
		conn.Close()
		if err := <-served; err == nil {
			t.Error("no error")
		}
	})
}

// TestPlainBesideTagged: both dialects are in one room and hear the same.
func TestPlainBesideTagged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		address, _, stop := serve(t, net, "lamp")
		ann := join(t, net, address, "Ann", 0)
		heardByAnn := listen(ann)

		bob, err := net.Listen(netip.AddrPortFrom(host(1), 0))
		if err != nil {
			t.Fatal(err)
		}
		defer bob.Close()
		to := netip.MustParseAddrPort(address.HostPort())
		var heardByBob []string
		ask := func(text string) {
			if _, err := bob.WriteToUDPAddrPort([]byte(text), to); err != nil {
				t.Fatal(err)
			}
		}
		hear := func() {
			synctest.Wait()
			bob.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			for {
				buf := make([]byte, 2000)
				n, _, err := bob.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				heardByBob = append(heardByBob, string(buf[:n]))
			}
		}
		ask("join Bob")
		hear()
		if _, err := ann.Do(t.Context(), "say hello"); err != nil {
			t.Fatal(err)
		}
		ask("say hi")
		ask("take lamp")
		hear()
		if reply, err := ann.Do(t.Context(), "take lamp"); err != nil || reply.Text != "lamp cannot be taken in this room" {
			t.Errorf("the lamp is taken twice: %v, %v", reply, err)
		}
		ask("drop lamp")
		ask("north")
		hear()
		stop()
		<-heardByAnn.done
		if want := []string{
			"Hall\n\nA hall.\n\nIn this room, there are:\n  lamp\n  Ann",
			`Ann said "hello".`, `You said "hi".`, "lamp taken", "lamp dropped", "Kitchen",
		}; !slices.Equal(heardByBob, want) {
			t.Errorf("Bob hears %q", heardByBob)
		}
		if want := []string{
			"Bob entered the room.", `Bob said "hi".`, "Bob left the room, heading north.",
		}; !slices.Equal(heardByAnn.heard, want) {
			t.Errorf("Ann hears %q", heardByAnn.heard)
		}
	})
}
