package player_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/udptest"
	"foyer/player"
)

// plainRoom answers like a room that does not know tags. Before each reply it
// sends the player what chatter returns.
func plainRoom(t testing.TB, n *udptest.Network, port uint16, chatter func() []string) *udptest.Peer {
	items := map[string]bool{"old lamp": true}
	here := map[netip.AddrPort]bool{}
	return serve(t, n, port, func(from netip.AddrPort, line string) []string {
		verb, rest, _ := strings.Cut(line, " ")
		text := "Invalid command"
		switch verb {
		case "join":
			here[from], text = true, summary
		case "look":
			text = summary
		case "take":
			if text = rest + " cannot be taken in this room"; items[rest] {
				text = rest + " taken"
			}
			delete(items, rest)
		case "drop":
			items[rest], text = true, rest+" dropped"
		case "say":
			if text = `You said "` + rest + `".`; rest == "" {
				text = "What did you want to say?"
			}
		case "south":
			text = "You cannot go south from this room."
		case "north":
			text = "Great Hall"
			delete(here, from)
		case "exit":
			text = "Goodbye"
			delete(here, from)
		}
		return append(chatter(), text)
	})
}

func noChatter() []string { return nil }

func TestPlainRoom(t *testing.T) {
	for _, only := range []bool{false, true} {
		t.Run(fmt.Sprintf("Plain=%t", only), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := udptest.New(1)
				// What other players do arrives between request and reply.
				chatter := []string{
					"Bob entered the room.", `Bob said "lamp taken".`, `Bob said "You cannot go north from this room.".`,
					"Bob left the room, heading up.", "Bob left the game.",
				}
				p := plainRoom(t, n, 40001, func() []string { return chatter })
				o := options(n)
				o.Plain = only
				s := join(t, o, p)
				if !s.Plain() {
					t.Error("the session is not plain")
				}
				want(t, s, "look", true, summary)
				want(t, s, "take old lamp", true, "old lamp taken")
				want(t, s, "take old lamp", false, "old lamp cannot be taken in this room")
				want(t, s, "drop old lamp", true, "old lamp dropped")
				want(t, s, "say Hello", true, `You said "Hello".`)
				want(t, s, "say", false, "What did you want to say?")
				want(t, s, "dance", false, "Invalid command")
				want(t, s, "south", false, "You cannot go south from this room.")
				want(t, s, "north", true, "Great Hall")
				if !errors.Is(s.Err(), player.ErrLeft) {
					t.Errorf("over: %v", s.Err())
				}
				requests := 9
				var told []string
				for text := range s.Messages() {
					told = append(told, text)
				}
				if len(told) != (requests+1)*len(chatter) || !slices.Equal(told[:len(chatter)], chatter) {
					t.Errorf("told %q", told)
				}
				tagged := 0
				for _, got := range p.Received() {
					if strings.HasPrefix(got.Line, "@") {
						tagged++
					}
				}
				if tagged != map[bool]int{false: 1}[only] {
					t.Errorf("%d tagged requests", tagged)
				}
			})
		})
	}
}

// TestPlainRoomComplaints: the refusals that our own rooms add to the dialect
// count as replies, not as messages.
func TestPlainRoomComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		texts := map[string]string{
			"join Alice": summary, "drop old lamp": "There is no space here for old lamp", "say far too much": "That is too long to say",
			"join Bob": "You are already here as Alice",
		}
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string { return []string{texts[line]} })
		o := plainOptions(n)
		s := join(t, o, p)
		for _, command := range []string{"drop old lamp", "say far too much", "join Bob"} {
			want(t, s, command, false, texts[command])
		}
		select {
		case text := <-s.Messages():
			t.Errorf("told %q", text)
		default:
		}
		start := time.Now()
		var refusal *foyer.Error
		if _, _, err := player.Join(t.Context(), address(t, p), "Bob", o); !errors.As(err, &refusal) || refusal.Text != texts["join Bob"] || time.Since(start) != 0 {
			t.Errorf("join after %v: %v", time.Since(start), err)
		}
	})
}

// TestPlainRoomLate: late and repeated replies are not taken for the reply to
// another command, nor for a message.
func TestPlainRoomLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		p := plainRoom(t, n, 40001, noChatter)
		s := join(t, plainOptions(n), p)
		to := playerAt(t, p)
		n.SetLink(office, home, udptest.Faults{Duplicate: 1, Reorder: 0.5, Hold: time.Second})
		for range 10 {
			want(t, s, "look", true, summary)
			want(t, s, "take coin", false, "coin cannot be taken in this room")
			want(t, s, "drop ring", true, "ring dropped")
			want(t, s, "take ring", true, "ring taken")
			want(t, s, "say one", true, `You said "one".`)
			want(t, s, "say two", true, `You said "two".`)
			want(t, s, "south", false, "You cannot go south from this room.")
			time.Sleep(3 * time.Second)
		}
		n.ClearLinks()
		time.Sleep(3 * time.Second)
		p.WriteToUDPAddrPort([]byte("ring taken"), to) // late
		p.WriteToUDPAddrPort([]byte("The lights go out."), to)
		synctest.Wait()
		p.WriteToUDPAddrPort([]byte("ring taken"), to)
		want(t, s, "north", true, "Great Hall")
		s.Close()
		var told []string
		for text := range s.Messages() {
			told = append(told, text)
		}
		if !slices.Equal(told, []string{"The lights go out."}) {
			t.Errorf("told %q", told)
		}
	})
}

// TestPlainRoomOnce: commands that must not be carried out twice are sent once.
func TestPlainRoomOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		p := plainRoom(t, n, 40001, noChatter)
		s := join(t, plainOptions(n), p)
		n.SetLink(office, home, udptest.Faults{Loss: 1})
		for command, times := range map[string]int{"take ring": 1, "drop ring": 1, "say Hello": 1, "north": 1, "look": 9, "exit": 9} {
			before := len(p.Received())
			start := time.Now()
			if _, err := s.Do(t.Context(), command); !errors.Is(err, client.ErrNoAnswer) || time.Since(start) != client.Timeout {
				t.Errorf("%s after %v: %v", command, time.Since(start), err)
			}
			// Jitter decides whether there is time for a tenth attempt.
			if got := len(p.Received()) - before; got != times && (times == 1 || got != times+1) {
				t.Errorf("%s was sent %d times", command, got)
			}
		}
	})
}

func TestPlainRoomRefusesJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			if strings.HasPrefix(line, "@") {
				return []string{"Invalid command"}
			}
			return []string{"Alice is already here"}
		})
		start := time.Now()
		_, _, err := player.Join(t.Context(), address(t, p), "Alice", options(n))
		var refusal *foyer.Error
		if !errors.As(err, &refusal) || refusal.Text != "Alice is already here" || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestPlainRoomLoss: the summary is lost at first, and others talk meanwhile.
func TestPlainRoomLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		lost := 3
		n.SetFilter(func(_, to netip.AddrPort, payload []byte) bool {
			if to.Addr() == home && string(payload) == summary {
				lost--
			}
			return lost < 0 || string(payload) != summary
		})
		p := plainRoom(t, n, 40001, func() []string { return []string{"Bob entered the room."} })
		s := join(t, plainOptions(n), p)
		p.WriteToUDPAddrPort([]byte("disconnect"), playerAt(t, p))
		told := 0
		for range s.Messages() {
			told++
		}
		if told != 4 || !errors.Is(s.Err(), player.ErrDisconnected) {
			t.Errorf("told %d messages; over: %v", told, s.Err())
		}
	})
}

// TestPlainRoomUnreadMessages: a caller that does not read messages loses the
// later ones.
func TestPlainRoomUnreadMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		p := plainRoom(t, n, 40001, noChatter)
		s := join(t, plainOptions(n), p)
		for i := range 3000 {
			p.WriteToUDPAddrPort(fmt.Appendf(nil, `Bob said "%d".`, i), playerAt(t, p))
		}
		time.Sleep(time.Second)
		want(t, s, "look", true, summary)
		if got := len(s.Messages()); got != 1024 {
			t.Errorf("%d messages wait", got)
		}
	})
}
