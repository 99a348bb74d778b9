package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"foyer"
	"foyer/internal/udp"
)

const (
	// MaxConns bounds the connections of each of the two HTTP servers. More
	// wait in the system's queue, where they cost the process nothing.
	MaxConns = 128

	// MaxConnsPerHost bounds those of a host (an IPv4 address, 64 bits of an
	// IPv6 one) over TCP; more are closed at once, to leave room for others.
	// The admin socket, which is for one user, has no such bound.
	MaxConnsPerHost = MaxConns / 4

	// requestTime is how long a request may take to arrive, but for its body.
	requestTime = 5 * time.Second

	// stallTime is how long a part of an answer may take to be read, and a part of a
	// body to arrive. Either may take as long as it likes if its parts do not.
	stallTime = 30 * time.Second
)

// Serve serves h on l and returns the function that ends it: what is being answered
// may go on for a second. Only /v1/import has a body.
func Serve(l net.Listener, h http.Handler, log *slog.Logger) (stop func()) {
	s := &http.Server{
		Handler:        refuseBodies(extendDeadlines(h)),
		ReadTimeout:    requestTime,
		IdleTimeout:    time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	bounded := newBoundedListener(l)
	go func() {
		if err := s.Serve(bounded); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP server ended", "err", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
}

// refuseBodies refuses requests with a body, and does not wait for it, but for
// those of importPath.
func refuseBodies(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && r.URL.Path != importPath {
			w.Header().Set("Connection", "close")
			Fail(w, foyer.Errorf(foyer.TooLarge, "only %s takes a body", importPath))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// extendDeadlines gives each part of a body its own time to arrive, each part of
// an answer its own time to be read, and the handler all the time that it needs.
func extendDeadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		_ = conn.SetReadDeadline(time.Time{}) // the request has arrived
		if r.ContentLength != 0 {
			r.Body = &deadlineBody{r.Body, conn}
		}
		d := &deadlineWriter{ResponseWriter: w}
		d.extend()
		h.ServeHTTP(d, r)
		d.extend() // for what is still buffered
	})
}

// A deadlineBody gives each part of a request's body its own time to arrive.
type deadlineBody struct {
	io.ReadCloser
	conn *http.ResponseController
}

func (b *deadlineBody) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(stallTime))
	n, err := b.ReadCloser.Read(p)
	if err != nil { // the server reads itself now, to notice that nobody waits any more
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

type deadlineWriter struct {
	http.ResponseWriter
	extended time.Time
}

func (d *deadlineWriter) Write(b []byte) (int, error) {
	if time.Since(d.extended) > stallTime/30 {
		d.extend()
	}
	return d.ResponseWriter.Write(b)
}

func (d *deadlineWriter) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *deadlineWriter) extend() {
	d.extended = time.Now()
	_ = http.NewResponseController(d.ResponseWriter).SetWriteDeadline(d.extended.Add(stallTime))
}

// A boundedListener has at most MaxConns connections, and MaxConnsPerHost from
// each host.
type boundedListener struct {
	net.Listener
	places chan struct{} // holds one for each connection
	closed chan struct{}
	close  func()
	hosts  perHost
}

func newBoundedListener(l net.Listener) *boundedListener {
	b := &boundedListener{Listener: l, places: make(chan struct{}, MaxConns), closed: make(chan struct{})}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// Accept waits for a free place, and then for a connection from a host that has
// not too many.
func (b *boundedListener) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			<-b.places
			return nil, err
		}
		host := hostOf(c.RemoteAddr().String())
		if b.hosts.take(host, MaxConnsPerHost) {
			return &boundedConn{c, sync.OnceFunc(func() {
				b.hosts.release(host)
				<-b.places
			})}, nil
		}
		c.Close()
	}
}

// Close also makes Accept return.
func (b *boundedListener) Close() error {
	b.close()
	return b.Listener.Close()
}

// hostOf returns the host that a peer counts for, or the zero Addr for the peer of a
// Unix socket.
func hostOf(peer string) netip.Addr {
	addr, _ := netip.ParseAddrPort(peer)
	return udp.Host(addr.Addr())
}

// perHost counts what each host has. Only hosts that have something are in it.
type perHost struct {
	mu    sync.Mutex
	count map[netip.Addr]int
}

// take counts one more for a host, unless it has as many as it may. The zero Addr may
// have any number.
func (p *perHost) take(host netip.Addr, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if host.IsValid() && p.count[host] == most {
		return false
	}
	if p.count == nil {
		p.count = make(map[netip.Addr]int)
	}
	p.count[host]++
	return true
}

func (p *perHost) release(host netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[host]--; p.count[host] == 0 {
		delete(p.count, host)
	}
}

// A boundedConn frees its place when it is closed.
type boundedConn struct {
	net.Conn
	release func()
}

// Close closes the connection.
func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
