package admin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is an in-memory listener.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

// dial sends a request and returns the connection.
func (p *pipes) dial(t *testing.T, request string) net.Conn {
	t.Helper()
	c, server := net.Pipe()
	p.conns <- server
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

// serveOnPipes runs fn, in a bubble, with a server that reads the body that
// requests for /v1/import may have, thinks for some time, and whose answer is parts
// times a part. It reports when an answer has ended, and how.
func serveOnPipes(t *testing.T, parts, part int, fn func(*testing.T, *pipes, <-chan error)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		answered := make(chan error, 1)
		stop := Serve(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			_, _ = io.Copy(io.Discard, r.Body) // reading on does no harm
			time.Sleep(2 * stallTime * time.Duration(min(r.ContentLength, 1)))
			if err == nil {
				err = r.Context().Err()
			}
			for i := 0; i < parts && err == nil; i++ {
				_, err = w.Write(bytes.Repeat([]byte("x"), part))
			}
			if err == nil {
				err = r.Context().Err()
			}
			answered <- err
		}), slog.New(slog.DiscardHandler))
		defer stop()
		fn(t, p, answered)
	})
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// A long answer to a slow reader is not cut off, one to a reader that is stuck is.
func TestSlowReaders(t *testing.T) {
	const parts, part = 100, 64 << 10
	serveOnPipes(t, parts, part, func(t *testing.T, p *pipes, answered <-chan error) {
		c := p.dial(t, get)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		begin, n := time.Now(), 0
		for buf := make([]byte, part); err == nil; {
			time.Sleep(stallTime * 2 / 3)
			var k int
			k, err = io.ReadFull(resp.Body, buf)
			n += k
		}
		if n != parts*part || err != io.EOF || time.Since(begin) < 10*stallTime {
			t.Errorf("read %d bytes of %d in %v: %v", n, parts*part, time.Since(begin), err)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	serveOnPipes(t, parts, part, func(t *testing.T, p *pipes, answered <-chan error) {
		begin := time.Now()
		c := p.dial(t, get)
		if err := <-answered; err == nil || time.Since(begin) > stallTime+time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		c.Close()
	})
}

// A long body that arrives slowly is not cut off, and what is done with it may take
// its time; one that stops arriving is.
func TestSlowBodies(t *testing.T) {
	const parts = 20
	post := fmt.Sprintf("POST /v1/import HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", parts)
	serveOnPipes(t, 1, 1, func(t *testing.T, p *pipes, answered <-chan error) {
		c := p.dial(t, post)
		for range parts {
			time.Sleep(stallTime * 2 / 3)
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v", resp, err)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	serveOnPipes(t, 1, 1, func(t *testing.T, p *pipes, answered <-chan error) {
		begin := time.Now()
		c := p.dial(t, post+"x")
		if err := <-answered; err == nil || time.Since(begin) > 4*stallTime+time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		c.Close()
	})
}

// Requests that do not arrive, and bodies, which are none of ours, are cut off.
func TestSlowRequests(t *testing.T) {
	for _, request := range []string{
		"", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
	} {
		serveOnPipes(t, 1, 1, func(t *testing.T, p *pipes, answered <-chan error) {
			begin := time.Now()
			c := p.dial(t, request)
			reply, _ := io.ReadAll(c)
			if took := time.Since(begin); took > requestTime+time.Second {
				t.Errorf("%q was cut off after %v", request, took)
			}
			if hasBody := strings.Contains(request, "\r\n\r\n"); hasBody && !strings.Contains(string(reply), "413 ") {
				t.Errorf("%q got %q", request, reply)
			}
			if len(answered) > 0 {
				t.Errorf("%q was carried out", request)
			}
			c.Close()
		})
	}
}
