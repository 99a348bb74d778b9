package player_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"foyer"
	"foyer/client"
	"foyer/internal/testenv"
	"foyer/internal/udptest"
	"foyer/player"
	"foyer/wire"
)

const summary = "Foyer\n\nA hall with many doors.\n\nThe room is empty."

// A fakeRoom is a tagged room that one player cannot tell from a real one.
type fakeRoom struct {
	*udptest.Peer
	t testing.TB

	// Owned by the peer's goroutine.
	sid      string
	outcomes map[string]string // replies by id
	done     map[string]int    // how often a command was carried out
	items    map[string]bool

	acks chan uint64 // as they come; the last ones
}

func newFakeRoom(t testing.TB, n *udptest.Network, port uint16) *fakeRoom {
	r := &fakeRoom{
		t: t, sid: "Z3Vlc3M", outcomes: map[string]string{}, done: map[string]int{},
		items: map[string]bool{}, acks: make(chan uint64, 1<<16),
	}
	r.Peer = serve(t, n, port, r.answer)
	return r
}

func (r *fakeRoom) answer(_ netip.AddrPort, line string) []string {
	tags, command, err := wire.ParseTags([]byte(line))
	if err != nil || !tags.Any {
		r.t.Errorf("the room got %q", line)
		return nil
	}
	if tags.HasAck {
		select {
		case r.acks <- tags.Ack:
		default:
		}
	}
	if len(command) == 0 {
		if string(tags.Sid) != r.sid || tags.ID != nil {
			r.t.Errorf("the room got %q", line)
		}
		return nil
	}
	if recorded, ok := r.outcomes[string(tags.ID)]; ok {
		return []string{recorded}
	}
	extra, text := r.carryOut(string(tags.Sid), string(command))
	r.done[string(command)]++
	out := udptest.Reply(line, extra, text)
	r.outcomes[string(tags.ID)] = out
	return []string{out}
}

func (r *fakeRoom) carryOut(sid, command string) (extra, text string) {
	verb, rest, _ := strings.Cut(command, " ")
	switch {
	case verb == "join":
		return ";sid=" + r.sid, "OK " + summary
	case sid != r.sid:
		return ";code=unknown-session", "NOTOK you are not in this room"
	case verb == "take" && r.items[rest]:
		delete(r.items, rest)
		return "", "OK " + rest + " taken"
	case verb == "take":
		return "", "NOTOK " + rest + " cannot be taken in this room"
	case verb == "look":
		return "", "OK " + summary
	case verb == "say":
		return "", `OK You said "` + rest + `".`
	case verb == "north":
		return "", "OK Great Hall"
	case verb == "south":
		return "", "NOTOK You cannot go south from this room."
	case verb == "exit":
		return "", "OK Goodbye"
	}
	return "", "NOTOK Invalid command"
}

// tell sends events 1 to count to the player, window at a time, and resends
// them until they are acknowledged.
func (r *fakeRoom) tell(to netip.AddrPort, count uint64) {
	const window = 32
	acked := uint64(0)
	for acked < count {
		for ev := acked + 1; ev <= min(acked+window, count); ev++ {
			r.WriteToUDPAddrPort(fmt.Appendf(nil, "@sid=%s;ev=%d message %d", "Z3Vlc3M", ev, ev), to)
		}
		again := time.NewTimer(200 * time.Millisecond)
		for wait := true; wait && acked < count; {
			select {
			case a := <-r.acks:
				if a > count {
					r.t.Errorf("acknowledged %d of %d", a, count)
				}
				wait = a <= acked
				acked = max(a, acked)
			case <-again.C:
				wait = false
			}
		}
		again.Stop()
	}
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(1)
		r := newFakeRoom(t, n, 40001)
		r.items["lamp"] = true
		o := options(n)
		s := join(t, o, r)
		if s.Plain() || s.Err() != nil {
			t.Errorf("plain %t, over %v", s.Plain(), s.Err())
		}
		want(t, s, "look", true, summary)
		want(t, s, "take lamp", true, "lamp taken")
		want(t, s, "take lamp", false, "lamp cannot be taken in this room")
		want(t, s, " say  Hello ", true, `You said " Hello".`)
		want(t, s, "", false, "Invalid command")
		want(t, s, "south", false, "You cannot go south from this room.")
		if _, err := s.Do(t.Context(), "say a\nb"); err == nil {
			t.Error("two lines were sent")
		}
		want(t, s, "north", true, "Great Hall")
		if _, open := <-s.Messages(); open || !errors.Is(s.Err(), player.ErrLeft) {
			t.Errorf("over: %v", s.Err())
		}
		if _, err := s.Do(t.Context(), "look"); !errors.Is(err, player.ErrLeft) {
			t.Errorf("look from outside: %v", err)
		}
		s = join(t, o, r)
		want(t, s, "EXIT", false, "Invalid command")
		want(t, s, "exit", true, "Goodbye")
		if !errors.Is(s.Err(), player.ErrLeft) {
			t.Errorf("over: %v", s.Err())
		}
	})
}

// TestSessionLoss: on a bad network everything said arrives once and in order,
// and everything is done once.
func TestSessionLoss(t *testing.T) {
	sd := testenv.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(sd)
		r := newFakeRoom(t, n, 40001)
		const count = 2000
		for i := range count {
			r.items[strconv.Itoa(i)] = true
		}
		o := options(n)
		s := join(t, o, r)
		n.SetFaults(udptest.Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.2, MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond})
		var both sync.WaitGroup
		to := playerAt(t, r)
		both.Go(func() { r.tell(to, count) })
		both.Go(func() {
			for i := range count {
				item := strconv.Itoa(i)
				got, err := s.Do(t.Context(), "take "+item)
				if errors.Is(err, client.ErrNoAnswer) {
					continue // once in ten thousand
				}
				if err != nil || !got.OK {
					t.Errorf("take %s: %v, %v", item, got, err)
				}
			}
		})
		for i := range count {
			if got, want := <-s.Messages(), fmt.Sprintf("message %d", i+1); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		both.Wait()
		r.Stop()
		for command, times := range r.done {
			if times != 1 {
				t.Errorf("%s was done %d times", command, times)
			}
		}
		s.Close()
		for extra := range s.Messages() {
			t.Errorf("told again: %q", extra)
		}
	})
}

// TestSlowCaller: a caller that does not read messages does not make the
// session grow, and loses none of them.
func TestSlowCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(2)
		r := newFakeRoom(t, n, 40001)
		o := options(n)
		s := join(t, o, r)
		go r.tell(playerAt(t, r), 3000)
		time.Sleep(time.Minute)
		var acked uint64
		for _, got := range r.Received() {
			if tags, _, _ := wire.ParseTags([]byte(got.Line)); tags.HasAck {
				acked = tags.Ack
			}
		}
		if acked != 1024 {
			t.Errorf("acknowledged %d", acked)
		}
		for i := range 3000 {
			if got, want := <-s.Messages(), fmt.Sprintf("message %d", i+1); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		time.Sleep(time.Minute)
	})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		time.Sleep(time.Hour)
		lines := r.Received()
		looks := 0
		for i := range lines[1:] {
			// A look also shows that the player is here, and does not wait.
			look := strings.HasSuffix(lines[i+1].Line, " look")
			if look {
				looks++
			}
			if gap := lines[i+1].At.Sub(lines[i].At); gap > 3*time.Second || gap < 2*time.Second && i > 0 && !look {
				t.Errorf("nothing was sent for %v, then %q", gap, lines[i+1].Line)
			}
		}
		if looks < 3600/17 || looks > 3600/15 {
			t.Errorf("%d looks in an hour", looks)
		}
		want(t, s, "exit", true, "Goodbye")
		before := len(r.Received())
		time.Sleep(time.Hour)
		if got := len(r.Received()); got != before {
			t.Errorf("%d datagrams after leaving", got-before)
		}
	})
}

// TestDeadRoom: an idle player notices that a room has died.
func TestDeadRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		time.Sleep(time.Minute)
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		r.Stop()
		start := time.Now()
		for text := range s.Messages() {
			t.Errorf("told %q", text)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("noticed after %v", took)
		}
		var silence *client.NoAnswerError
		if err := s.Err(); !errors.As(err, &silence) || silence.Peer != "room 192.0.2.2:40001" {
			t.Errorf("over: %v", err)
		}
		if _, err := s.Do(t.Context(), "look"); !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("a command afterwards: %v", err)
		}
	})
}

// TestCommandBeforeProbe: a command does not wait for a probe.
func TestCommandBeforeProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		r.Stop()
		time.Sleep(16 * time.Second)
		start := time.Now()
		if _, err := s.Do(t.Context(), "say Hello"); !errors.Is(err, client.ErrNoAnswer) || time.Since(start) != client.Timeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if s.Err() != nil {
			t.Errorf("over: %v", s.Err()) // it is for the caller to decide what a silent room means
		}
		for range s.Messages() {
		}
		if err := s.Err(); !errors.Is(err, client.ErrNoAnswer) || time.Since(start) > 30*time.Second {
			t.Errorf("over after %v: %v", time.Since(start), err)
		}
	})
}

// TestRestartedRoom: an idle player also notices a room that was restarted at
// the same address, without its players.
func TestRestartedRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(3)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		r.Stop()
		serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			if strings.HasSuffix(line, " ") {
				return nil // an acknowledgement
			}
			return []string{udptest.Reply(line, ";code=unknown-session", "NOTOK you are not in this room")}
		})
		start := time.Now()
		for range s.Messages() {
		}
		var refusal *foyer.Error
		if err := s.Err(); !errors.As(err, &refusal) || refusal.Code != "unknown-session" || time.Since(start) > 30*time.Second {
			t.Errorf("over after %v: %v", time.Since(start), err)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(4)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		to := playerAt(t, r)
		forger := netip.AddrPortFrom(abroad, 40001)
		for _, line := range []string{"@ev=1 forged", "disconnect", "@ev=1 disconnect", "forged"} {
			n.Inject(forger, to, []byte(line))
		}
		const ours = "@sid=Z3Vlc3M;"
		for _, line := range []string{
			ours + "ev=3 three", ours + "ev=2 two", ours + "ev=0 nought", ours + "ev=66 far ahead", ours + "ev=999999999999999999 farther", ours + "ev=x y",
			ours + "ev=", "@", "", "untagged", "disconnect", "@id=01890a5d-ac96-774b-bcce-b302099a8057 OK nobody asked",
			ours + "ev=3 again", ours + "ev=1 one", ours + "ev=1 one", "@unknown=1;sid=Z3Vlc3M;ev=4 four",
		} {
			r.WriteToUDPAddrPort([]byte(line), to)
		}
		time.Sleep(time.Second)
		for _, want := range []string{"one", "two", "three", "four"} {
			select {
			case got := <-s.Messages():
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			default:
				t.Errorf("not told %q", want)
			}
		}
		lines := r.Received()
		if last := lines[len(lines)-1]; last.Line != "@sid=Z3Vlc3M;ack=4 " || last.At.Sub(lines[0].At) > 50*time.Millisecond {
			t.Errorf("acknowledged with %q after %v", last.Line, last.At.Sub(lines[0].At))
		}
		// The acknowledgement was lost, and the room resends the event.
		r.WriteToUDPAddrPort([]byte("@sid=Z3Vlc3M;ev=4 four"), to)
		time.Sleep(time.Second)
		if got := r.Received(); len(got) != len(lines)+1 || got[len(lines)].Line != "@sid=Z3Vlc3M;ack=4 " {
			t.Errorf("got %v", got[len(lines):])
		}
		select {
		case got := <-s.Messages():
			t.Errorf("told %q", got)
		default:
		}
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(5)
		r := newFakeRoom(t, n, 40001)
		s := join(t, options(n), r)
		to := playerAt(t, r)
		r.WriteToUDPAddrPort([]byte("@sid=Z3Vlc3M;ev=2 disconnect"), to)
		time.Sleep(time.Second)
		if s.Err() != nil {
			t.Error("ended before it had heard everything")
		}
		r.WriteToUDPAddrPort([]byte("@sid=Z3Vlc3M;ev=1 Fire!"), to)
		if got := <-s.Messages(); got != "Fire!" {
			t.Errorf("told %q", got)
		}
		if _, open := <-s.Messages(); open || !errors.Is(s.Err(), player.ErrDisconnected) {
			t.Errorf("over: %v", s.Err())
		}
		// The acknowledgement was lost.
		synctest.Wait()
		before := len(r.Received())
		r.WriteToUDPAddrPort([]byte("@sid=Z3Vlc3M;ev=2 disconnect"), to)
		time.Sleep(time.Minute)
		if got := r.Received()[before:]; len(got) != 1 || got[0].Line != "@sid=Z3Vlc3M;ack=2 " {
			t.Errorf("got %v", got)
		}
		if _, err := s.Do(t.Context(), "look"); !errors.Is(err, player.ErrDisconnected) {
			t.Errorf("look: %v", err)
		}
	})
}

// TestDisconnectAmidRequest: the room closes while a command is in progress.
func TestDisconnectAmidRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(6)
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			if strings.Contains(line, "join") {
				return []string{udptest.Reply(line, ";sid=x", "OK "+summary)}
			}
			return []string{"@sid=x;ev=1 disconnect"}
		})
		s := join(t, options(n), p)
		start := time.Now()
		if _, err := s.Do(t.Context(), "look"); !errors.Is(err, player.ErrDisconnected) || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestSessionRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(7)
		refusal := func(code string) func(netip.AddrPort, string) []string {
			return func(_ netip.AddrPort, line string) []string {
				return []string{udptest.Reply(line, ";code="+code, "NOTOK for a reason")}
			}
		}
		o := options(n)
		for i, code := range []string{"name-taken", "bad-name", "busy", "unheard-of"} {
			p := serve(t, n, uint16(40001+i), refusal(code))
			start := time.Now()
			_, _, err := player.Join(t.Context(), address(t, p), "Alice", o)
			var got *foyer.Error
			if !errors.As(err, &got) || string(got.Code) != code || got.Text != "for a reason" {
				t.Errorf("%s: %v", code, err)
			}
			if waited := time.Since(start) == client.Timeout; waited != (code == "busy") {
				t.Errorf("%s after %v", code, time.Since(start))
			}
		}
		p := serve(t, n, 50001, udptest.Silent)
		start := time.Now()
		_, _, err := player.Join(t.Context(), address(t, p), "Alice", o)
		if took := time.Since(start); took != client.Timeout || !errors.Is(err, client.ErrNoAnswer) ||
			err.Error() != "room 192.0.2.2:50001 did not answer within 5 seconds" {
			t.Errorf("after %v: %v", took, err)
		}

		r := newFakeRoom(t, n, 50002)
		s := join(t, o, r)
		r.sid = "another"
		time.Sleep(time.Millisecond)
		_, err = s.Do(t.Context(), "look")
		var gone *foyer.Error
		if !errors.As(err, &gone) || gone.Code != "unknown-session" {
			t.Errorf("look: %v", err)
		}
		if _, open := <-s.Messages(); open || !errors.Is(s.Err(), gone) {
			t.Errorf("over: %v", s.Err())
		}
	})
}

// TestSessionAgain: after busy the same id is sent again, after stale-request a
// new one.
func TestSessionAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(8)
		var ids []string
		refusals := []string{"", ";code=busy", ";code=busy", ";code=stale-request;now=5000000000000", ""}
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			tags, command, _ := wire.ParseTags([]byte(line))
			if len(command) == 0 {
				return nil
			}
			ids = append(ids, string(tags.ID))
			extra := refusals[0]
			refusals = refusals[1:]
			if extra != "" {
				return []string{udptest.Reply(line, extra, "NOTOK not now")}
			}
			return []string{udptest.Reply(line, ";sid=x", "OK "+summary)}
		})
		s := join(t, options(n), p)
		want(t, s, "look", true, summary)
		if len(ids) != 5 || ids[1] != ids[2] || ids[2] != ids[3] || ids[3] == ids[4] || !slices.IsSorted(ids) {
			t.Errorf("ids %q", ids)
		}
		if want := fmt.Sprintf("%012x", 5000000000000); strings.ReplaceAll(ids[4], "-", "")[:12] < want {
			t.Errorf("id %s is older than the room wants", ids[4])
		}
	})
}

func TestSessionContextAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(9)
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			if strings.Contains(line, "join") {
				return []string{udptest.Reply(line, ";sid=x", "OK "+summary)}
			}
			return nil
		})
		s := join(t, options(n), p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.Do(ctx, "look"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrNoAnswer) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		failed := make(chan error, 3)
		for range 3 { // one is sent, two wait for their turn
			go func() {
				_, err := s.Do(t.Context(), "look")
				failed <- err
			}()
		}
		time.Sleep(time.Second)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-failed; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		if _, open := <-s.Messages(); open {
			t.Error("messages are open")
		}
	})
}

// TestEventsBeforeJoined: events may overtake the reply to join. The player
// cannot tell yet that they are the room's; the room resends them.
func TestEventsBeforeJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(10)
		const first = "@sid=x;ev=1 Bob entered the room."
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			if !strings.Contains(line, "join") {
				return nil
			}
			return []string{"Carol left the game.", first, "Invalid command", udptest.Reply(line, ";sid=x", "OK "+summary)}
		})
		s := join(t, options(n), p)
		p.WriteToUDPAddrPort([]byte(first), playerAt(t, p))
		if got := <-s.Messages(); got != "Bob entered the room." || s.Plain() {
			t.Errorf("told %q; plain: %t", got, s.Plain())
		}
		time.Sleep(time.Second)
		if lines := p.Received(); len(lines) != 2 || lines[1].Line != "@sid=x;ack=1 " {
			t.Errorf("got %v", lines)
		}
	})
}

// TestCookie: a room that asks for a cookie, on join and when the player's
// address changes, gets it back at once with the same id.
func TestCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := udptest.New(11)
		var ids []string
		p := serve(t, n, 40001, func(_ netip.AddrPort, line string) []string {
			tags, command, _ := wire.ParseTags([]byte(line))
			if len(command) == 0 {
				return nil
			}
			ids = append(ids, string(tags.ID))
			if string(tags.Cookie) != "oats" {
				ask := udptest.Reply(line, ";code=bad-cookie;cookie=oats", "NOTOK ask again with this cookie")
				return []string{ask, ask} // a copy causes no further request
			}
			return []string{udptest.Reply(line, ";sid=x", "OK "+summary)}
		})
		start := time.Now()
		s := join(t, options(n), p)
		want(t, s, "look", true, summary)
		if len(ids) != 4 || ids[0] != ids[1] || ids[2] != ids[3] || ids[1] == ids[2] || time.Since(start) != 0 {
			t.Errorf("after %v: ids %q", time.Since(start), ids)
		}
	})
}
