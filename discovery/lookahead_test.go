package discovery

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"foyer/internal/udp"
	"foyer/storage/storetest"
)

// TestLinesAreAnsweredInOrder compares the answers to the lines of one datagram
// with the answers to the same lines sent one by one.
func TestLinesAreAnsweredInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	possible := []string{
		"LOOKUP the great hall of mirrors", "LOOKUP the great hall of mirrors", "LOOKUP the great hall of mirrors",
		"LOOKUP the attic, up the stairs", "@id=018f4e7a-1b2c-7d3e-8f40-112233445566 LOOKUP the attic, up the stairs", "LOOKUP \xff, which is no name at all",
		"@ttl=30 RENEW room://192.0.2.1:40001 the great hall of mirrors", "@ttl=60 RENEW room://192.0.2.1:40002 the great hall of mirrors",
		"@ttl=30 REGISTER room://192.0.2.1:40001 the great hall of mirrors", "@ttl=60 REGISTER room://192.0.2.1:40002 the great hall of mirrors",
		"REGISTER room://192.0.2.1:40001 the attic, up the stairs", "DEREGISTER the great hall of mirrors", "DEREGISTER the attic, up the stairs",
		"PING, which nobody understands", "OK room://192.0.2.1:40001", "",
	}
	for range 300 {
		s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		apart, apartWriter := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
		var lines, want []string
		kinds := 1 + r.IntN(len(possible)) // few of them have long runs of look-ups
		for n := 1 + r.IntN(2*lookaheadLength); len(lines) < n && len(strings.Join(lines, "\n")) < 1000; {
			line := possible[r.IntN(kinds)]
			lines = append(lines, line)
			want = append(want, answers(serveDatagram(apart, apartWriter, []byte(line)))...)
		}
		request := strings.Join(lines, "\n")
		if got := answers(serveDatagram(s, w, []byte(request))); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%s\n got %q\nwant %q", request, got, want)
		}
	}
}

// answers returns the lines of the replies.
func answers(x *exchange) (lines []string) {
	for _, d := range x.datagrams(nil) {
		lines = append(lines, strings.Split(string(d.Data), "\n")...)
	}
	return lines
}

// Where nothing can be written, the other lines are answered all the same.
func TestLinesBetweenThoseThatAreDenied(t *testing.T) {
	s, w := newIdleServer(storetest.NewModel(storetest.Sabotage{}))
	serveDatagram(s, w, []byte("REGISTER room://192.0.2.1:40001 Foyer"))
	var x exchange
	x.start(&udp.Datagram{
		Data: []byte("LOOKUP Foyer\nREGISTER room://192.0.2.1:40002 Great Hall of Mirrors\nLOOKUP Foyer\n\nDEREGISTER Foyer\nLOOKUP Foyer"),
		Peer: netip.MustParseAddrPort("192.0.2.9:9"),
	})
	const found, denied = "OK room://192.0.2.1:40001", "NOTOK too many requests are waiting; try again"
	want := strings.Join([]string{found, denied, found, denied, found}, "\n")
	if done := s.serve(&x, &w.ahead, errBusyQueue); !done || strings.Join(answers(&x), "\n") != want {
		t.Errorf("done %v, got %q, want %q", done, answers(&x), want)
	}
}
