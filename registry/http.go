package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"foyer/internal/udp"
)

const (
	// maxConns bounds the connections of each of the two HTTP servers. More
	// wait in the system's queue, where they cost the process nothing.
	maxConns = 128

	// maxConnsPerHost bounds those of a host (an IPv4 address, 64 bits of an
	// IPv6 one) over TCP; more are closed at once, to leave room for others.
	// The admin socket, which is for one user, has no such bound.
	maxConnsPerHost = maxConns / 4

	// requestTime is how long a request may take to arrive, but for its body.
	requestTime = 5 * time.Second

	// stallTime is how long a part of an answer may take to be read, and a part of a
	// body to arrive. Either may take as long as it likes if its parts do not.
	stallTime = 30 * time.Second
)

// serveHTTP serves h on l and returns the function that ends it: what is being
// answered may go on for a second. Only requests for the paths of bodies may
// have one.
func serveHTTP(l net.Listener, h http.Handler, log *slog.Logger, bodies ...string) (stop func()) {
	s := &http.Server{
		Handler:        refuseBodies(extendDeadlines(h), bodies),
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
// those of some paths.
func refuseBodies(h http.Handler, bodies []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && !slices.Contains(bodies, r.URL.Path) {
			w.Header().Set("Connection", "close")
			http.Error(w, "requests have no body", http.StatusRequestEntityTooLarge)
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

// A boundedListener has at most maxConns connections, and maxConnsPerHost from
// each host.
type boundedListener struct {
	net.Listener
	places chan struct{} // holds one for each connection
	closed chan struct{}
	close  func()

	mu    sync.Mutex
	hosts map[netip.Addr]int
}

func newBoundedListener(l net.Listener) *boundedListener {
	b := &boundedListener{Listener: l, places: make(chan struct{}, maxConns), closed: make(chan struct{}), hosts: map[netip.Addr]int{}}
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
		var host netip.Addr // none for a Unix socket
		if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			host = udp.Host(tcp.AddrPort().Addr())
		}
		if b.take(host) {
			return &boundedConn{c, sync.OnceFunc(func() {
				b.release(host)
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

func (b *boundedListener) take(host netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if host.IsValid() && b.hosts[host] == maxConnsPerHost {
		return false
	}
	b.hosts[host]++
	return true
}

func (b *boundedListener) release(host netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts[host]--; b.hosts[host] == 0 {
		delete(b.hosts, host)
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
