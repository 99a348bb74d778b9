package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"foyer"
)

// Each flow is a socket of its own that keeps its window in flight, whether one
// goroutine uses all of them (a closed loop on Linux) or each has its own (with a
// rate).
func TestFlows(t *testing.T) {
	for _, rate := range []float64{0, 20_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) { testFlows(t, rate) })
	}
}

func testFlows(t *testing.T, rate float64) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_ = server.SetReadBuffer(4 << 20) // the kernel's default hardly holds all windows
	asked := make(chan map[netip.AddrPort]int)
	go func() {
		clients, data := map[netip.AddrPort]int{}, make([]byte, 2048)
		for {
			_, peer, err := server.ReadFromUDPAddrPort(data)
			if err != nil {
				asked <- clients
				return
			}
			clients[peer]++
			_, _ = server.WriteToUDPAddrPort([]byte("OK room://10.100.100.100:10000"), peer)
		}
	}()
	const flows, window = 256, 1
	o := Options{
		Target: netip.MustParseAddrPort(server.LocalAddr().String()),
		Work:   Lookup, Flows: flows, Window: window, Lines: 1, Names: 1, Rate: rate, Duration: 200 * time.Millisecond,
	}
	result, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	clients := <-asked
	if len(clients) != flows {
		t.Errorf("%d clients asked, not %d", len(clients), flows)
	}
	sent := uint64(0)
	for peer, n := range clients {
		sent += uint64(n)
		if n < window {
			t.Errorf("%v asked %d times: it has a window of %d", peer, n, window)
		}
	}
	if result.Requests+result.Lost != sent {
		t.Errorf("of %d requests %d were answered and %d lost", sent, result.Requests, result.Lost)
	}
}

// With mixed work, look-ups are answered at once and without an id while
// registrations wait for the disk: each answer counts for its own request.
func TestMixedAnswersInAnyOrder(t *testing.T) {
	var sent outbox
	l := &link{run: &run{Options: Options{Work: Mixed, Flows: 1, Window: 64, Lines: 2, Names: 100}}, sockets: &sent,
		rand: rand.New(rand.NewPCG(1, 2)), refused: map[foyer.Code]uint64{}, latency: newHistogram()}
	l.flows = []*flow{l.newFlow(0)}
	l.ending = true // nothing is sent but what is here
	l.flows[0].send(time.Now())
	var plain, tagged [][]byte
	for line := range bytes.Lines(bytes.Join(sent, []byte("\n"))) {
		if id, _, found := bytes.Cut(line, []byte(" REGISTER ")); found {
			tagged = append(tagged, append(id, " OK"...))
		} else {
			plain = append(plain, []byte("OK room://10.100.100.100:10000"))
		}
	}
	if len(plain) == 0 || len(tagged) == 0 {
		t.Fatalf("%d look-ups and %d registrations", len(plain), len(tagged))
	}
	l.take(0, plain)
	l.take(0, tagged)
	if l.inFlight != 0 || l.answered != 128 {
		t.Errorf("%d of 128 requests were answered, %d datagrams are still in flight", l.answered, l.inFlight)
	}
}

// An outbox keeps what is sent.
type outbox [][]byte

func (o *outbox) Send(_ int, requests [][]byte) { *o = append(*o, requests...) }
func (o *outbox) Close() error                  { return nil }

func (o *outbox) Receive(time.Duration, func(int, [][]byte)) error { return nil }
