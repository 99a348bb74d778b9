package room_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/internal/udptest"
	"foyer/player"
	"foyer/wire"

	"github.com/google/uuid"
)

// A stranger speaks to a room by hand, and need not follow any rules.
type stranger struct {
	t    *testing.T
	conn *udptest.Conn
	room netip.AddrPort
	sid  string
}

// newStranger joins from host as a tagged player.
func newStranger(t *testing.T, net *udptest.Network, host netip.Addr, at foyer.Address, name string) *stranger {
	t.Helper()
	conn, err := net.Listen(netip.AddrPortFrom(host, 0))
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, conn: conn, room: netip.MustParseAddrPort(at.HostPort())}
	id, cookie := uuid.Must(uuid.NewV7()).String(), ""
	for range 2 {
		s.send("@id=" + id + cookie + " join " + name)
		tags, _, err := wire.ParseTags([]byte(s.hear()))
		if err != nil {
			t.Fatal(err)
		}
		s.sid, cookie = string(tags.Sid), ";cookie="+string(tags.Cookie)
		if s.sid != "" {
			return s
		}
	}
	t.Fatalf("%s does not get in", name)
	return nil
}

func (s *stranger) send(text string) {
	if _, err := s.conn.WriteToUDPAddrPort([]byte(text), s.room); err != nil {
		s.t.Error(err)
	}
}

// hear returns what comes next.
func (s *stranger) hear() string {
	buf := make([]byte, 2000)
	n, _, err := s.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func (s *stranger) ask(command string) {
	s.send("@id=" + uuid.Must(uuid.NewV7()).String() + ";sid=" + s.sid + " " + command)
}

// TestStrangersSilenceNobody: one talks as fast as it can, another hears one
// thing at a time. The others' commands, and joins, are all answered, and they
// hear each other.
func TestStrangersSilenceNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		net.SetFaults(udptest.Faults{MinDelay: 100 * time.Microsecond, MaxDelay: 200 * time.Microsecond})
		address, _, stop := serve(t, net)
		defer stop()
		evil := host(100)
		talker, slow := newStranger(t, net, evil, address, "Talker"), newStranger(t, net, evil, address, "Slow")
		var attack sync.WaitGroup
		end := time.Now().Add(20 * time.Second)
		attack.Go(func() {
			for time.Now().Before(end) {
				for range 10 {
					talker.ask("say x")
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
		attack.Go(func() {
			for ev := 1; time.Now().Before(end); {
				for strings.Contains(slow.hear(), fmt.Sprintf("ev=%d ", ev)) {
					slow.send(fmt.Sprintf("@sid=%s;ack=%d ", slow.sid, ev))
					ev++
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
		var wellBehaved sync.WaitGroup
		const players, sayings = 5, 10
		var heard [players]*listener
		for i := range players {
			wellBehaved.Go(func() {
				time.Sleep(time.Duration(i) * time.Second) // some join long after the attack has begun
				began := time.Now()
				s, _, err := player.Join(t.Context(), address, fmt.Sprint("P", i), options(net, i))
				if err != nil {
					t.Errorf("P%d does not get in: %v", i, err)
					return
				}
				defer s.Close()
				heard[i] = listen(s)
				if took := time.Since(began); took > time.Second {
					t.Errorf("P%d joins within %v", i, took)
				}
				for k := range sayings {
					began := time.Now()
					reply, err := s.Do(t.Context(), fmt.Sprint("say ", k))
					if took := time.Since(began); err != nil || !reply.OK || took > 100*time.Millisecond {
						t.Errorf("P%d says %d: %v, %v, after %v", i, k, reply, err, took)
					}
					time.Sleep(time.Second)
				}
				s.Close()
				<-heard[i].done
				for j := range players {
					if j == i || i > j {
						continue // later players do not hear earlier ones from the start, nor earlier ones later ones to the end
					}
					n := 0
					for _, text := range heard[i].heard {
						if strings.HasPrefix(text, fmt.Sprintf("P%d said", j)) {
							n++
						}
					}
					if n < sayings-(j-i)-1 {
						t.Errorf("P%d heard %d of what P%d said", i, n, j)
					}
				}
				if slices.ContainsFunc(heard[i].heard, func(s string) bool { return strings.Contains(s, "lost") }) {
					t.Errorf("P%d has missed something", i)
				}
			})
		}
		wellBehaved.Wait()
		time.Sleep(time.Until(end))
		talker.conn.Close()
		slow.conn.Close()
		attack.Wait()
	})
}

// TestGapIsTold: a player who could not keep up is told how many messages they
// have missed.
func TestGapIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		net.SetFaults(udptest.Faults{MinDelay: 100 * time.Microsecond, MaxDelay: 200 * time.Microsecond})
		address, _, stop := serve(t, net)
		defer stop()
		sessions := joinAll(t, net, address, 2)
		// P1 does not read. 1,024 messages wait in the client.
		const sayings = 1400
		for k := range sayings {
			if reply, err := sessions[0].Do(t.Context(), fmt.Sprint("say ", k)); err != nil || !reply.OK {
				t.Fatalf("%d: %v, %v", k, reply, err)
			}
		}
		l := listen(sessions[1])
		time.Sleep(10 * time.Second) // waiting messages are left out when the room closes
		stop()
		<-l.done
		said, lost, gaps := 0, 0, 0
		for _, text := range l.heard {
			var n int
			if _, err := fmt.Sscanf(text, "… %d messages were lost …", &n); err == nil {
				gaps++
				lost += n
			} else if want := fmt.Sprintf(`P0 said "%d".`, said+lost); text != want {
				t.Fatalf("heard %q, want %q", text, want)
			} else {
				said++
			}
		}
		if said+lost != sayings || gaps != 1 || said < 1024+256 {
			t.Errorf("heard %d, and of %d lost ones in %d places, of %d", said, lost, gaps, sayings)
		}
	})
}

// TestForgedEvents: forged events are neither shown nor acknowledged, and do
// not end the session; real ones are shown.
func TestForgedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		address, _, stop := serve(t, net)
		defer stop()
		s := join(t, net, address, "Ann", 0)
		l := listen(s)
		from := netip.MustParseAddrPort(address.HostPort())
		before := net.Stats().Sent
		forge := func() {
			for port := range 1 << 16 { // one of them is Ann's
				to := netip.AddrPortFrom(host(0), uint16(port))
				for _, line := range []string{`@ev=1 Bob said "forged".`, "@sid=guess;ev=1 disconnect", "disconnect"} {
					net.Inject(from, to, []byte(line))
				}
			}
			synctest.Wait()
		}
		forge()
		if n := net.Stats().Sent - before - 3<<16; n != 0 {
			t.Errorf("%d datagrams were sent in answer", n)
		}
		other := join(t, net, address, "Bob", 1)
		forge()
		if _, err := other.Do(t.Context(), "say true"); err != nil {
			t.Fatal(err)
		}
		if reply, err := s.Do(t.Context(), "look"); err != nil || !reply.OK {
			t.Errorf("%v, %v", reply, err)
		}
		stop()
		<-l.done
		if want := []string{"Bob entered the room.", `Bob said "true".`}; !slices.Equal(l.heard, want) {
			t.Errorf("heard %q, want %q", l.heard, want)
		}
	})
}

// TestThingsOfTheDeparted: a stranger who keeps coming and going does not make
// the room forget its reply to somebody who has left with a lamp.
func TestThingsOfTheDeparted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		address, _, stop := serve(t, net, "lamp")
		defer stop()
		s := join(t, net, address, "Ann", 0)
		if reply, err := s.Do(t.Context(), "take lamp"); err != nil || !reply.OK {
			t.Fatalf("%v, %v", reply, err)
		}
		// The reply to north is lost until strangers have come and gone.
		net.SetLink(roomHost, host(0), udptest.Faults{Loss: 1})
		north := make(chan error, 1)
		go func() {
			reply, err := s.Do(t.Context(), "north")
			if err == nil && (!reply.OK || reply.Text != "Kitchen") {
				err = fmt.Errorf("%v", reply)
			}
			north <- err
		}()
		time.Sleep(10 * time.Millisecond)
		for i := range 400 {
			guest := newStranger(t, net, host(1+i%8), address, fmt.Sprint("Guest", i))
			guest.ask("exit")
			guest.hear()
			guest.conn.Close()
			time.Sleep(time.Millisecond)
		}
		net.ClearLinks()
		if err := <-north; err != nil {
			t.Error(err)
		}
	})
}

// TestJoinsOverBadNetwork: with the extra exchange for the cookie, everybody
// still gets in, once.
func TestJoinsOverBadNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := udptest.New(1)
		address, server, stop := serve(t, net)
		defer stop()
		net.SetFaults(bad)
		const players = 100
		var all sync.WaitGroup
		for i := range players {
			all.Go(func() {
				s, _, err := player.Join(t.Context(), address, fmt.Sprint("P", i), options(net, i))
				if err != nil {
					t.Errorf("P%d: %v", i, err)
					return
				}
				defer s.Close()
				l := listen(s)
				defer func() { s.Close(); <-l.done }()
				time.Sleep(20*time.Second - time.Duration(time.Now().UnixNano()%int64(time.Second)))
			})
		}
		time.Sleep(10 * time.Second)
		if n := len(server.Players()); n != players {
			t.Errorf("%d players are in the room", n)
		}
		all.Wait()
	})
}
