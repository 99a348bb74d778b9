package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"foyer/discovery"
	"foyer/internal/udp"
	"foyer/internal/udptest"
	"foyer/storage/storetest"
)

// A bench is a registry in memory with its admin interface.
type bench struct {
	t      *testing.T
	net    *udptest.Network
	server *discovery.Server
	admin  *Admin
	store  Store
	copier fakeCopier
	model  *storetest.Model
	host   *udptest.Conn
	conns  *pipes // for those who watch
	stop   func()
}

var registryAddr = netip.MustParseAddrPort("192.0.2.1:7666")

// run calls fn with a fresh bench in a bubble.
func run(t *testing.T, fn func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, net: udptest.New(1), store: Store{Path: "rooms.db"}}
		host, err := b.net.Listen(netip.MustParseAddrPort("192.0.2.10:1"))
		if err != nil {
			t.Fatal(err)
		}
		b.host = host
		b.start()
		defer func() { b.stop() }()
		fn(b)
	})
}

func (b *bench) start() {
	c, err := b.net.Listen(registryAddr)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.model == nil {
		b.model = storetest.NewModel(storetest.Sabotage{})
	}
	b.server = discovery.New(b.model, discovery.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	b.admin = New(ctx, b.server, b.model, Options{
		Log: slog.New(slog.DiscardHandler), Version: "v1", Listen: []string{registryAddr.String()},
		Host: "Registry.Example", Store: func() Store { return b.store },
		Copier: &b.copier,
		DNS:    func() map[string]map[string]uint64 { return map[string]map[string]uint64{"SRV": {"NXDOMAIN": 7}} },
	})
	done := make(chan error)
	go func() { done <- b.server.Serve(ctx, udp.Single(c)) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
		c.Close()
	}
}

// A fakeCopier takes two seconds for a copy: package registry has a real one.
type fakeCopier struct {
	err   error // after the first second
	pages error // of the database itself
}

func (c *fakeCopier) work(ctx context.Context, progress func(done, of int64)) error {
	for n := range int64(2) {
		progress(n<<20, 2<<20)
		select {
		case <-time.After(time.Second + time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if c.err != nil {
			return c.err
		}
	}
	return nil
}

// Copy, CheckPages and Compact implement [Copier].
func (c *fakeCopier) Copy(ctx context.Context, progress func(done, of int64), use func(path string) error) error {
	if err := c.work(ctx, progress); err != nil {
		return err
	}
	return use("/world/rooms.db.copy-1")
}

func (c *fakeCopier) CheckPages() error { return c.pages }

func (c *fakeCopier) Compact(ctx context.Context, progress func(done, of int64)) (before, after int64, err error) {
	return 2 << 20, 1 << 20, c.work(ctx, progress)
}

// restart stops the registry and starts another one on the same store.
func (b *bench) restart() {
	b.stop()
	b.model = b.model.Reopen()
	b.start()
}

// send sends a request over UDP and returns the reply.
func (b *bench) send(request string) string {
	b.t.Helper()
	if _, err := b.host.WriteToUDPAddrPort([]byte(request), registryAddr); err != nil {
		b.t.Fatal(err)
	}
	_ = b.host.SetReadDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 4096)
	n, _, err := b.host.ReadFromUDPAddrPort(buf)
	if err != nil {
		b.t.Fatalf("%s: %v", request, err)
	}
	return string(buf[:n])
}

func (b *bench) register(names ...string) {
	b.t.Helper()
	for i, name := range names {
		if got := b.send(fmt.Sprintf("@ttl=30 REGISTER room://192.0.2.10:%d %s", 1+i, name)); !strings.Contains(got, " OK") {
			b.t.Fatalf("registering %s: %s", name, got)
		}
	}
}

// ask asks a handler over HTTP and returns the status and the body.
func (b *bench) ask(h http.Handler, r *http.Request) (int, string) {
	b.t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// request returns a request that comes over the network, to a local address.
func request(method, target, host string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.RemoteAddr = host, "192.0.2.20:1"
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7667}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}
