package player_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"foyer"
	"foyer/client"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/player"
	"foyer/wire"
)

// A town is a registry and rooms with exits.
type town struct {
	t        testing.TB
	n        *udptest.Network
	registry *udptest.Peer
	rooms    map[string]*udptest.Peer // the registered ones; changed only while nobody walks
	hear     func(request string)     // is told of each request, its retries included
}

func newTown(t testing.TB) *town {
	w := &town{t: t, n: udptest.New(1), rooms: map[string]*udptest.Peer{}, hear: func(string) {}}
	w.registry = serve(t, w.n, 7666, func(_ netip.AddrPort, line string) []string {
		q, err := wire.ParseRequest([]byte(line))
		if err != nil || q.Verb != wire.Lookup {
			t.Errorf("the registry got %q", line)
			return nil
		}
		w.hear("lookup " + string(q.Name))
		if r := w.rooms[string(q.Name)]; r != nil {
			return []string{udptest.Reply(line, "", "OK room://"+r.AddrPort().String())}
		}
		return []string{udptest.Reply(line, ";code=unknown-name", "NOTOK no such name is registered")}
	})
	return w
}

func summaryOf(name string) string { return name + "\n\nNice.\n\nThe room is empty." }

// open starts a room whose exits are given by direction.
func (w *town) open(port uint16, name string, exits map[string]string) *udptest.Peer {
	r := serve(w.t, w.n, port, func(_ netip.AddrPort, line string) []string {
		_, command, _ := wire.ParseTags([]byte(line))
		if len(command) == 0 {
			return nil
		}
		w.hear(name + ": " + string(command))
		next, exit := exits[string(command)]
		switch {
		case strings.HasPrefix(string(command), "join "):
			return []string{udptest.Reply(line, ";sid=x", "OK "+summaryOf(name))}
		case string(command) == "look":
			return []string{udptest.Reply(line, "", "OK "+summaryOf(name))}
		case exit:
			return []string{udptest.Reply(line, "", "OK "+next)}
		}
		return []string{udptest.Reply(line, "", "NOTOK You cannot go "+string(command)+" from this room.")}
	})
	w.rooms[name] = r
	return r
}

// alice returns a player who is in no room yet.
func (w *town) alice() *player.Player {
	w.t.Helper()
	o := options(w.n)
	co := client.Options{Registries: []string{w.registry.AddrPort().String()}}
	seam.Client(&co, seam.Seam{Listen: func() (udp.PacketConn, error) { return w.n.Listen(netip.AddrPortFrom(home, 0)) }})
	c, err := client.New(co)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	p := player.New(c, "Alice", o)
	w.t.Cleanup(p.Close)
	return p
}

func (w *town) start(p *player.Player, room foyer.Name) {
	w.t.Helper()
	if text, err := p.Start(w.t.Context(), room); err != nil || text != summaryOf(string(room)) || p.Room() != room {
		w.t.Fatalf("in %q, saw %q: %v", p.Room(), text, err)
	}
}

func TestWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		w.open(40001, "Foyer", map[string]string{"north": "Great Hall"})
		w.open(40002, "Great Hall", map[string]string{"south": "Foyer"})
		p := w.alice()
		if p.Room() != "" || p.Session() != nil {
			t.Errorf("in %q before the start", p.Room())
		}
		p.Close() // nothing to close
		w.start(p, "Foyer")
		first := p.Session()
		r, err := p.Go(t.Context(), foyer.Up)
		if err != nil || r.OK || r.Text != "You cannot go up from this room." || p.Session() != first {
			t.Errorf("up: %v, %v", r, err)
		}
		r, err = p.Go(t.Context(), foyer.North)
		if err != nil || !r.OK || r.Text != summaryOf("Great Hall") || p.Room() != "Great Hall" {
			t.Errorf("north: in %s, %v, %v", p.Room(), r, err)
		}
		if !errors.Is(first.Err(), player.ErrLeft) {
			t.Errorf("the first session: %v", first.Err())
		}
		want(t, p.Session(), "look", true, summaryOf("Great Hall"))
		if r, err = p.Go(t.Context(), foyer.South); err != nil || p.Room() != "Foyer" {
			t.Errorf("south: in %s, %v, %v", p.Room(), r, err)
		}
		last := p.Session()
		w.start(p, "Great Hall")
		if last.Err() == nil {
			t.Error("there is a session in each of two rooms")
		}
	})
}

// TestWalkPlain: in the plain dialect a refusal of a direction is recognized by
// its text.
func TestWalkPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		w.rooms["Foyer"] = plainRoom(t, w.n, 40001, noChatter)
		w.rooms["Great Hall"] = plainRoom(t, w.n, 40002, noChatter)
		p := w.alice()
		if text, err := p.Start(t.Context(), "Foyer"); err != nil || text != summary || !p.Session().Plain() {
			t.Fatal(text, err)
		}
		if r, err := p.Go(t.Context(), foyer.South); err != nil || r.OK || p.Room() != "Foyer" {
			t.Errorf("south: in %s, %v, %v", p.Room(), r, err)
		}
		if r, err := p.Go(t.Context(), foyer.North); err != nil || !r.OK || p.Room() != "Great Hall" {
			t.Errorf("north: in %s, %v, %v", p.Room(), r, err)
		}
	})
}

// TestUnreachable: if the next room cannot be entered, the player is back where
// they were.
func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		name, exit, err string
		is              error
	}{
		{"not registered", "Attic", "cannot get to Attic: no room called Attic is registered", foyer.ErrUnknownName},
		{"silent", "Cellar", "cannot get to Cellar: the room Cellar did not answer within 5 seconds", client.ErrNoAnswer},
		{"full", "Kitchen", "cannot get to Kitchen: the room Kitchen does not let you in: Alice is already here", foyer.ErrNameTaken},
		{"no name", "two  spaces", "cannot get to two  spaces: the room gave an invalid name: ", &foyer.Error{Code: foyer.BadName}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t)
				w.open(40001, "Foyer", map[string]string{"north": c.exit})
				w.rooms["Cellar"] = serve(t, w.n, 40002, udptest.Silent)
				w.rooms["Kitchen"] = serve(t, w.n, 40003, func(_ netip.AddrPort, line string) []string {
					return []string{udptest.Reply(line, ";code=name-taken", "NOTOK Alice is already here")}
				})
				p := w.alice()
				w.start(p, "Foyer")
				r, err := p.Go(t.Context(), foyer.North)
				away, ok := errors.AsType[*player.UnreachableError](err)
				if !ok || away.Room != c.exit || away.Back != nil || !errors.Is(err, c.is) || !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("got %v", err)
				}
				if r.OK || r.Text != summaryOf("Foyer") || p.Room() != "Foyer" {
					t.Errorf("in %s, saw %q", p.Room(), r.Text)
				}
				want(t, p.Session(), "look", true, summaryOf("Foyer"))
			})
		})
	}
}

// TestWayBack: a room may come back at another address while its player is
// away, or not at all.
func TestWayBack(t *testing.T) {
	for _, moves := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t)
			old := w.open(40001, "Foyer", map[string]string{"north": "Attic"})
			p := w.alice()
			w.start(p, "Foyer")
			w.hear = func(request string) {
				if request == "lookup Attic" {
					old.Close()
					delete(w.rooms, "Foyer")
					if moves {
						w.open(40002, "Foyer", nil)
					}
				}
			}
			r, err := p.Go(t.Context(), foyer.North)
			away, ok := errors.AsType[*player.UnreachableError](err)
			switch {
			case !ok:
				t.Errorf("got %v", err)
			case moves:
				if away.Back != nil || r.Text != summaryOf("Foyer") {
					t.Errorf("saw %q: %v", r.Text, err)
				}
				want(t, p.Session(), "look", true, summaryOf("Foyer"))
			default:
				if !strings.HasSuffix(err.Error(), "; there is no way back to Foyer: no room called Foyer is registered") {
					t.Errorf("got %v", err)
				}
				if _, err := p.Session().Do(t.Context(), "look"); err == nil {
					t.Error("there is a room all the same")
				}
			}
		})
	}
}

// TestNotCutShort: a canceled context does not leave the player between two
// rooms, nor a ghost in one.
func TestNotCutShort(t *testing.T) {
	for _, at := range []string{"lookup Great Hall", "Great Hall: join Alice", "Foyer: join Alice"} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t)
			w.open(40001, "Foyer", map[string]string{"north": "Great Hall"})
			w.open(40002, "Great Hall", nil)
			p := w.alice()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.hear = func(request string) {
				if request == at {
					cancel()
					synctest.Wait() // the cancellation has taken effect
				}
			}
			if _, err := p.Start(ctx, "Foyer"); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			if at == "Foyer: join Alice" {
				return
			}
			if r, err := p.Go(ctx, foyer.North); err != nil || !r.OK || p.Room() != "Great Hall" {
				t.Errorf("%s: in %s, %v, %v", at, p.Room(), r, err)
			}
		})
	}
}

func TestCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		w.rooms["Cellar"] = serve(t, w.n, 40002, udptest.Silent)
		p := w.alice()
		_, err := p.Start(t.Context(), "Attic")
		if lookup, ok := errors.AsType[*player.LookupError](err); !ok || lookup.Room != "Attic" || !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("Attic: %v", err)
		}
		_, err = p.Start(t.Context(), "Cellar")
		if _, ok := errors.AsType[*player.LookupError](err); ok || !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("Cellar: %v", err)
		}
		w.registry.Stop()
		_, err = p.Start(t.Context(), "Foyer")
		if _, ok := errors.AsType[*player.LookupError](err); !ok || !errors.Is(err, client.ErrNoAnswer) ||
			err.Error() != "registry 192.0.2.2:7666 did not answer within 5 seconds" {
			t.Errorf("Foyer: %v", err)
		}
		if p.Session() != nil || p.Room() != "" {
			t.Errorf("in %q", p.Room())
		}
	})
}

// TestRejoin: a restarted room does not know its players.
func TestRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t)
		known := true
		w.rooms["Foyer"] = serve(t, w.n, 40001, func(_ netip.AddrPort, line string) []string {
			switch joins := strings.Contains(line, "join "); {
			case joins:
				known = true
				return []string{udptest.Reply(line, ";sid=x", "OK "+summaryOf("Foyer"))}
			case !known:
				return []string{udptest.Reply(line, ";code=unknown-session", "NOTOK you are not in this room")}
			}
			return []string{udptest.Reply(line, "", "OK "+summaryOf("Foyer"))}
		})
		p := w.alice()
		w.start(p, "Foyer")
		synctest.Wait()
		known = false
		if _, err := p.Session().Do(t.Context(), "look"); !errors.Is(err, foyer.ErrUnknownSession) || !errors.Is(p.Session().Err(), foyer.ErrUnknownSession) {
			t.Errorf("look: %v, over: %v", err, p.Session().Err())
		}
		if text, err := p.Rejoin(t.Context()); err != nil || text != summaryOf("Foyer") {
			t.Errorf("saw %q: %v", text, err)
		}
		want(t, p.Session(), "look", true, summaryOf("Foyer"))
	})
}
