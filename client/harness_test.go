package client_test

import (
	"crypto/ed25519"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"foyer"
	"foyer/client"
	"foyer/internal/seam"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/wire"
)

var (
	home   = netip.MustParseAddr("192.0.2.1")    // of the client
	office = netip.MustParseAddr("192.0.2.2")    // of registries and rooms
	abroad = netip.MustParseAddr("198.51.100.3") // of others
)

const foyerAt foyer.Address = "room://192.0.2.7:40001"

func listen(t testing.TB, n *udptest.Network, host netip.Addr, port uint16) *udptest.Conn {
	t.Helper()
	conn, err := n.Listen(netip.AddrPortFrom(host, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// newClient returns a Client of these registries on n, which is closed at the end
// of the test.
func newClient(t testing.TB, n *udptest.Network, o client.Options, registries ...interface{ AddrPort() netip.AddrPort }) *client.Client {
	t.Helper()
	for _, r := range registries {
		o.Registries = append(o.Registries, r.AddrPort().String())
	}
	seam.Client(&o, seam.Seam{
		Listen: func() (udp.PacketConn, error) { return n.Listen(netip.AddrPortFrom(home, 0)) },
		Rand:   rand.NewChaCha8([32]byte{1}),
	})
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve starts a peer that answers with answer.
func serve(t testing.TB, n *udptest.Network, host netip.Addr, port uint16, answer func(from netip.AddrPort, line string) []string) *udptest.Peer {
	t.Helper()
	return udptest.Serve(t, n, netip.AddrPortFrom(host, port), answer)
}

// A fakeRegistry keeps names in memory. A client cannot tell it from a real
// registry.
type fakeRegistry struct {
	*udptest.Peer
	plain bool // speaks only the plain dialect, as old ones do

	mu       sync.Mutex
	rooms    map[string]registered
	outcomes map[string]string // by id
	effects  map[string]int    // by id: how often a request took effect
	override func(line string) (replies []string, ok bool)
}

type registered struct {
	address, owner string
	ttl            uint64
}

func newFakeRegistry(t testing.TB, n *udptest.Network, port uint16, plain bool) *fakeRegistry {
	r := &fakeRegistry{plain: plain, rooms: map[string]registered{}, outcomes: map[string]string{}, effects: map[string]int{}}
	r.Peer = serve(t, n, office, port, r.answer)
	return r
}

// do calls f while the registry stands still.
func (r *fakeRegistry) do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// instead makes f answer if it returns true.
func (r *fakeRegistry) instead(f func(line string) ([]string, bool)) {
	r.do(func() { r.override = f })
}

func (r *fakeRegistry) answer(_ netip.AddrPort, line string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.override != nil {
		if replies, ok := r.override(line); ok {
			return replies
		}
	}
	if r.plain && strings.HasPrefix(line, "@") {
		return []string{"NOTOK Invalid request"}
	}
	var datagrams []string
	for one := range strings.SplitSeq(line, "\n") {
		text := r.answerLine(one)
		if last := len(datagrams) - 1; last >= 0 && len(datagrams[last])+1+len(text) <= wire.MaxDatagram {
			datagrams[last] += "\n" + text
		} else {
			datagrams = append(datagrams, text)
		}
	}
	return datagrams
}

func (r *fakeRegistry) answerLine(line string) string {
	q, err := wire.ParseRequest([]byte(line))
	if err != nil {
		return udptest.Reply(line, ";code=malformed", "NOTOK "+err.Error())
	}
	id := string(q.ID)
	if recorded, ok := r.outcomes[id]; ok && id != "" {
		return recorded
	}
	extra, text := r.carryOut(&q, []byte(line))
	out := udptest.Reply(line, extra, text)
	if id != "" && (q.Verb == wire.Register || q.Verb == wire.Deregister) {
		r.outcomes[id] = out
		if strings.HasPrefix(text, "OK") {
			r.effects[id]++
		}
	}
	return out
}

func (r *fakeRegistry) carryOut(q *wire.Request, line []byte) (extra, text string) {
	name := string(q.Name)
	have, known := r.rooms[name]
	mayChange := true
	if have.owner != "" {
		key, err := foyer.ParseKey(have.owner)
		mayChange = err == nil && q.Sig != nil && wire.Verify(line, q.Sig, key)
	}
	lease := ""
	if q.HasTTL {
		lease = ";ttl=" + strconv.FormatUint(q.TTL, 10)
	}
	switch {
	case q.Verb == wire.Register:
		if known && (have.owner == "" || !mayChange) {
			return ";code=name-taken", "NOTOK name " + strconv.Quote(name) + " is already registered"
		}
		for other, at := range r.rooms {
			if at.address == string(q.Address) && other != name {
				return ";code=address-taken", "NOTOK address is already registered"
			}
		}
		r.rooms[name] = registered{string(q.Address), string(q.Key), q.TTL}
		return lease, "OK"
	case !known:
		return ";code=unknown-name", "NOTOK no such name is registered"
	case q.Verb == wire.Lookup:
		return ";ttl=10", "OK " + have.address
	case !mayChange:
		return ";code=not-owner", "NOTOK the name belongs to somebody else"
	case q.Verb == wire.Renew && have.address != string(q.Address):
		return ";code=replaced", "NOTOK the name is now registered at another address"
	case q.Verb == wire.Renew:
		return lease, "OK"
	}
	delete(r.rooms, name)
	return "", "OK"
}

func testKey(first byte) ed25519.PrivateKey {
	s := make([]byte, ed25519.SeedSize)
	s[0] = first
	return ed25519.NewKeyFromSeed(s)
}
