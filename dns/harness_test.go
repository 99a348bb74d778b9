package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/storage"
	"foyer/storage/storetest"
)

var (
	serverAddr   = netip.MustParseAddrPort("192.0.2.1:53")
	registryAddr = netip.MustParseAddrPort("192.0.2.1:7666")
)

// A bench is a registry in memory that answers over DNS.
type bench struct {
	t      *testing.T
	net    *udptest.Network
	model  *storetest.Model
	server *Server
	host   *udptest.Conn
	pipes  *pipes
	stop   func()
}

// A registry is what a Server asks, as package main of the registry has it.
type registry struct {
	storage.Store
	leases *discovery.Server
}

func (r registry) LeaseLeft(reg *foyer.Registration) (time.Duration, bool) {
	return r.leases.LeaseLeft(reg)
}

// run calls fn with a fresh bench for the domain rooms.example in a bubble.
func run(t *testing.T, o Options, fn func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, net: udptest.New(1), model: storetest.NewModel(storetest.Sabotage{}), pipes: newPipes()}
		ctx, cancel := context.WithCancel(t.Context())
		rooms := discovery.New(b.model, discovery.Options{AnyAddress: true})
		var err error
		if o.Domain == "" {
			o.Domain = "rooms.example"
		}
		if b.server, err = New(registry{b.model, rooms}, o); err != nil {
			t.Fatal(err)
		}
		asked, named := udp.Single(b.listen(registryAddr)), udp.Single(b.listen(serverAddr))
		done := make(chan error, 2)
		go func() { done <- rooms.Serve(ctx, asked) }()
		go func() { done <- b.server.Serve(ctx, b.pipes, named) }()
		b.host = b.listen(netip.MustParseAddrPort("192.0.2.10:1000"))
		b.stop = sync.OnceFunc(func() {
			cancel()
			if err := errors.Join(<-done, <-done); err != nil {
				t.Error(err)
			}
		})
		defer b.stop()
		fn(b)
	})
}

func (b *bench) listen(at netip.AddrPort) *udptest.Conn {
	b.t.Helper()
	c, err := b.net.Listen(at)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends a datagram and returns the reply, nil if none comes.
func (b *bench) exchange(to netip.AddrPort, msg []byte) []byte {
	b.t.Helper()
	if _, err := b.host.WriteToUDPAddrPort(msg, to); err != nil {
		b.t.Fatal(err)
	}
	_ = b.host.SetReadDeadline(time.Now().Add(time.Millisecond))
	buf := make([]byte, 4096)
	n, _, err := b.host.ReadFromUDPAddrPort(buf)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		b.t.Fatal(err)
	}
	return buf[:n]
}

// register registers a room; tags may be empty.
func (b *bench) register(tags, address, name string) {
	b.t.Helper()
	if tags == "" {
		tags = "ttl=0"
	}
	if got := string(b.exchange(registryAddr, fmt.Appendf(nil, "@%s REGISTER %s %s", tags, address, name))); !strings.Contains(" "+got, " OK") {
		b.t.Fatalf("registering %s: %q", name, got)
	}
}

// ask sends a query and returns the reply, which it checks to be one to that query.
func (b *bench) ask(query []byte) *dnsmessage.Message {
	b.t.Helper()
	data := b.exchange(serverAddr, query)
	if data == nil {
		b.t.Fatal("there is no reply")
	}
	return parseReply(b.t, query, data)
}

func parseReply(t testing.TB, query, data []byte) *dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(data); err != nil {
		t.Fatalf("the reply cannot be read: %v: %x", err, data)
	}
	if m.ID != uint16(query[0])<<8|uint16(query[1]) || !m.Response || m.RecursionAvailable {
		t.Fatalf("the reply has the header %s", m.Header.GoString())
	}
	return &m
}

// question makes a query. The labels of name are as RFC 1035 presents them, with \DDD.
func question(name string, kind dnsmessage.Type) []byte {
	return rawQuestion(wireName(name), kind, dnsmessage.ClassINET)
}

func rawQuestion(name []byte, kind dnsmessage.Type, class dnsmessage.Class) []byte {
	q := append([]byte{0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, name...) // RD
	return append(q, byte(kind>>8), byte(kind), byte(class>>8), byte(class))
}

func wireName(name string) []byte {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		var data []byte
		for i := 0; i < len(label); i++ {
			if label[i] == '\\' {
				data = append(data, (label[i+1]-'0')*100+(label[i+2]-'0')*10+label[i+3]-'0')
				i += 3
				continue
			}
			data = append(data, label[i])
		}
		wire = append(append(wire, byte(len(data))), data...)
	}
	return append(wire, 0)
}

// withEDNS adds an OPT record with the given size, version, DO bit and options.
func withEDNS(q []byte, size uint16, version byte, do bool, options ...byte) []byte {
	q = append([]byte(nil), q...)
	q[11]++
	flags := byte(0)
	if do {
		flags = 0x80
	}
	q = append(q, 0, 0, 41, byte(size>>8), byte(size), 0, version, flags, 0, byte(len(options)>>8), byte(len(options)))
	return append(q, options...)
}

// show writes a reply in a line: code, flags, and the records of each section.
func show(m *dnsmessage.Message) string {
	var s strings.Builder
	s.WriteString(strings.TrimPrefix(m.RCode.String(), "RCode"))
	if m.Authoritative {
		s.WriteString(" aa")
	}
	if m.Truncated {
		s.WriteString(" tc")
	}
	for i, section := range [][]dnsmessage.Resource{m.Answers, m.Authorities, m.Additionals} {
		for _, r := range section {
			if r.Header.Type == dnsmessage.TypeOPT {
				continue
			}
			s.WriteString([]string{" | ", " | authority: ", " | additional: "}[i])
			fmt.Fprintf(&s, "%s %d ", r.Header.Name, r.Header.TTL)
			switch d := r.Body.(type) {
			case *dnsmessage.AResource:
				fmt.Fprint(&s, "A ", netip.AddrFrom4(d.A))
			case *dnsmessage.AAAAResource:
				fmt.Fprint(&s, "AAAA ", netip.AddrFrom16(d.AAAA))
			case *dnsmessage.SRVResource:
				fmt.Fprint(&s, "SRV ", d.Priority, d.Weight, d.Port, " ", d.Target)
			case *dnsmessage.TXTResource:
				fmt.Fprintf(&s, "TXT %q", d.TXT)
			case *dnsmessage.NSResource:
				fmt.Fprint(&s, "NS ", d.NS)
			case *dnsmessage.SOAResource:
				fmt.Fprint(&s, "SOA ", d.NS, " ", d.MBox, " ", d.MinTTL)
			case *dnsmessage.UnknownResource:
				fmt.Fprintf(&s, "%d %q", r.Header.Type, d.Data)
			}
		}
	}
	return s.String()
}

// pipes is a listener whose connections are in memory, so that time can be.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

type pipe struct {
	net.Conn
	peer net.Addr
}

func (p *pipe) RemoteAddr() net.Addr { return p.peer }
func (p *pipe) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(serverAddr) }

// dial connects from a host.
func (p *pipes) dial(host string) net.Conn {
	ours, theirs := net.Pipe()
	p.accept <- &pipe{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(host))}
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return net.TCPAddrFromAddrPort(serverAddr) }
