package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"foyer"
	"foyer/client"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/player"
	"foyer/wire"
)

// A fakeWorld is a registry and rooms on an in-memory network that follow a
// script.
type fakeWorld struct {
	t     testing.TB
	net   *udptest.Network
	rooms map[foyer.Name]*fakeRoom

	registry *udptest.Peer

	mu       sync.Mutex
	requests []string // what has arrived, in order
}

// A fakeRoom lets everybody in and carries out every command, unless told
// otherwise.
type fakeRoom struct {
	*udptest.Peer
	world *fakeWorld
	name  foyer.Name

	joinErr []error // of the next joins: errSilence, a refusal, or nil
	answer  func(command string) (text string, ok bool, err error)

	// Of the peer's goroutine.
	replies map[string][]string // by id

	mu     sync.Mutex
	player netip.AddrPort
	sid    int // of the last join
	events int // that it was told
}

var (
	playersHost = netip.MustParseAddr("192.0.2.1")
	roomsHost   = netip.MustParseAddr("192.0.2.2")
)

// errSilence makes a room not answer, errLost makes it say that it does not
// know the player.
var (
	errSilence = errors.New("silence")
	errLost    = errors.New("lost")
)

func newWorld(t testing.TB, names ...foyer.Name) *fakeWorld {
	w := &fakeWorld{t: t, net: udptest.New(1), rooms: map[foyer.Name]*fakeRoom{}}
	w.registry = udptest.Serve(t, w.net, netip.AddrPortFrom(roomsHost, 7666), w.lookup)
	for i, n := range names {
		r := &fakeRoom{world: w, name: n, replies: map[string][]string{}}
		w.rooms[n] = r
		r.Peer = udptest.Serve(t, w.net, netip.AddrPortFrom(roomsHost, uint16(40001+i)), r.receive)
	}
	return w
}

func (w *fakeWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) lookup(_ netip.AddrPort, line string) []string {
	q, err := wire.ParseRequest([]byte(line))
	if err != nil || q.Verb != wire.Lookup {
		w.t.Errorf("the registry got %q", line)
		return nil
	}
	w.note("lookup %s", q.Name)
	r := w.rooms[foyer.Name(q.Name)]
	if r == nil {
		return []string{string(wire.AppendRefusal(nil, &q.Tags, foyer.ErrUnknownName, 0, wire.MaxDatagram))}
	}
	return []string{string(wire.AppendOK(nil, &q.Tags, 0, "room://"+r.AddrPort().String()))}
}

// receive answers a datagram, and the same request the same way.
func (r *fakeRoom) receive(from netip.AddrPort, line string) []string {
	tags, command, err := wire.ParseTags([]byte(line))
	if err != nil || len(command) == 0 { // an acknowledgement
		return nil
	}
	id := string(tags.ID)
	replies, known := r.replies[id]
	if !known {
		replies = r.carryOut(from, id, string(command))
		r.replies[id] = replies
	}
	return replies
}

func (r *fakeRoom) carryOut(from netip.AddrPort, id, command string) []string {
	reply := wire.Reply{Tags: wire.Tags{ID: []byte(id)}}
	text, ok, err := "", true, error(nil)
	if name, joins := strings.CutPrefix(command, "join "); joins {
		r.world.note("join %s as %s", r.name, name)
		if len(r.joinErr) > 0 {
			err, r.joinErr = r.joinErr[0], r.joinErr[1:]
		}
		if err == nil {
			reply.Sid = r.admit(from)
		}
		text = string(r.name) + "\n\nNice.\n\nThe room is empty."
	} else {
		r.world.note("%s: %s", r.name, command)
		text, ok, err = r.do(command)
	}
	switch {
	case err == errSilence:
		return nil
	case err == errLost:
		reply.Code, text, ok = []byte(foyer.UnknownSession), "you are not in this room", false
	case err != nil:
		reply.Code, text, ok = []byte(foyer.NameTaken), err.Error(), false
	}
	reply.OK, reply.Text = ok, []byte(text)
	return []string{string(wire.AppendReply(nil, &reply))}
}

func (r *fakeRoom) do(command string) (text string, ok bool, err error) {
	if r.answer != nil {
		if text, ok, err := r.answer(command); text != "" || err != nil {
			return text, ok, err
		}
	}
	verb, object, _ := strings.Cut(command, " ")
	switch verb {
	case "take":
		return object + " taken", true, nil
	case "drop":
		return object + " dropped", true, nil
	case "say":
		return fmt.Sprintf("You said %q.", object), true, nil
	case "exit":
		return "Goodbye", true, nil
	case "look":
		return "You see.", true, nil
	}
	return "Invalid command", false, nil
}

func (r *fakeRoom) admit(from netip.AddrPort) (sid []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.player, r.events = from, 0
	r.sid++
	return fmt.Appendf(nil, "s%d", r.sid)
}

// tell makes the room say something to its player by itself.
func (r *fakeRoom) tell(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events++
	r.WriteToUDPAddrPort(fmt.Appendf(nil, "@sid=s%d;ev=%d %s", r.sid, r.events, text), r.player)
}

// only answers one command.
func only(command, text string, ok bool, err error) func(string) (string, bool, error) {
	return func(c string) (string, bool, error) {
		if c == command {
			return text, ok, err
		}
		return "", false, nil
	}
}

// game returns a game of Alice, who is in no room yet.
func (w *fakeWorld) game(console *console) *game {
	s := seam.Seam{Listen: func() (udp.PacketConn, error) { return w.net.Listen(netip.AddrPortFrom(playersHost, 0)) }}
	c := client.Options{Registries: []string{w.registry.AddrPort().String()}}
	seam.Client(&c, s)
	registries, err := client.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { registries.Close() })
	var p player.Options
	seam.Player(&p, s)
	return &game{player: player.New(registries, "Alice", p), console: console}
}

// play feeds input to a player in the Foyer of w and returns what was shown and
// the error.
func play(t *testing.T, w *fakeWorld, input string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := newConsole(strings.NewReader(input), &out)
	defer c.Close()
	err := w.game(c).play(t.Context(), "Foyer")
	return out.String(), err
}

const inFoyer = "Foyer\n\nNice.\n\nThe room is empty.\n"

type brokenPipe struct{ after int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}
