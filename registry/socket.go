package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"foyer"
	"foyer/admin"
)

// maxSocketPath is how long a Unix socket's path can be on every system, in
// bytes: 104 on macOS, 108 on Linux, minus the final zero.
const maxSocketPath = 103

// withShortPath calls fn with a path that is short enough for a socket's
// address. If the real one is not, Linux accepts a path through the open
// folder.
func withShortPath(path string, fn func(string) error) error {
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the path of the socket is longer than %d bytes: %s", maxSocketPath, path)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), filepath.Base(path)))
}

// listenSocket opens the admin interface's socket for this user only. The
// caller holds the database. An existing socket on which nobody listens was
// left by a killed server.
func listenSocket(path string) (net.Listener, error) {
	if err := checkSocket(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var l net.Listener
	err := withShortPath(path, func(short string) (err error) {
		// Nobody can connect between bind and chmod, because the umask is set.
		l, err = listenPrivately(short)
		return err
	})
	if err != nil {
		return nil, err
	}
	// It could not be removed later by its short name.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	made, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, err
	}
	return &adminListener{l.(*net.UnixListener), path, made}, nil
}

// errNoServer means that no registry is running on the store.
var errNoServer = errors.New("no registry is running on this store")

// answerTimeout is how long the tools wait for a server to accept a connection,
// and for each part of its answer. A suspended server does neither.
const answerTimeout = 10 * time.Second

// An adminClient asks the registry that holds a store.
type adminClient struct{ http http.Client }

// A promptConn is a connection whose peer has a time for each read and write.
// Whoever takes what is written need not answer meanwhile.
type promptConn struct {
	net.Conn
	timeout time.Duration
}

func (c promptConn) Read(b []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.timeout))
	return c.Conn.Read(b)
}

func (c promptConn) Write(b []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.timeout))
	return c.Conn.Write(b)
}

var errSilent = fmt.Errorf("the registry that holds this store did not answer within %v: it is stopped or stuck", answerTimeout)

func newAdminClient(socket string) *adminClient { return newAdminClientOf(socket, answerTimeout) }

// newAdminClientOf returns a client that waits so long for a part of an answer.
func newAdminClientOf(socket string, timeout time.Duration) *adminClient {
	return &adminClient{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (c net.Conn, err error) {
			err = withShortPath(socket, func(short string) error {
				c, err = (&net.Dialer{Timeout: timeout}).DialContext(ctx, "unix", short)
				return err
			})
			if err != nil {
				return nil, err
			}
			return promptConn{c, timeout}, nil
		},
		ResponseHeaderTimeout: answerTimeout,
	}}}
}

// do makes a request to a path, which is escaped, and returns the body of a successful
// answer. Its error is errNoServer if no server is there.
func (a *adminClient) do(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	return a.send(ctx, method, path, query, nil)
}

// send is do for a request with a body.
func (a *adminClient) send(ctx context.Context, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://registry"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, errNoServer
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		if method != http.MethodGet {
			return nil, fmt.Errorf("%w, and may still do it when it goes on", errSilent)
		}
		return nil, errSilent
	case broken(err):
		return nil, errors.New("the running registry ended before it answered")
	case err != nil:
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the URL means nothing to the user
		}
		return nil, fmt.Errorf("asking the running registry: %w", err)
	case resp.StatusCode >= 300:
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		var failure admin.Error
		if json.Unmarshal(text, &failure) != nil || failure.Error.Message == "" {
			return nil, fmt.Errorf("the running registry answered %s", resp.Status) // it is of another version
		}
		return nil, errors.New(failure.Error.Message)
	}
	return resp.Body, nil
}

// broken reports whether an error means that the other end of a connection is
// gone.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// get decodes the answer to a GET. Its errors are those of do.
func get[T any](ctx context.Context, a *adminClient, path string, query url.Values) (v T, err error) {
	body, err := a.do(ctx, http.MethodGet, path, query)
	if err != nil {
		return v, err
	}
	for v, err := range lines[T](body) {
		return v, err
	}
	return v, errBrokeOff
}

// roomPath returns the path of what a name has. In a name, "." and ".." are no steps.
func roomPath(collection string, name foyer.Name) string {
	return "/v1/" + collection + "/" + strings.ReplaceAll(url.PathEscape(string(name)), ".", "%2E")
}

var errBrokeOff = errors.New("the running registry broke off: it ended")

// lines decodes a body of JSON lines and closes it.
func lines[T any](body io.ReadCloser) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer body.Close()
		in := json.NewDecoder(bufio.NewReaderSize(body, 1<<16))
		for {
			var v T
			err := in.Decode(&v)
			if err == io.EOF {
				return
			}
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				err = errSilent
			case errors.Is(err, context.Canceled):
			case broken(err):
				err = errBrokeOff
			case err != nil:
				err = fmt.Errorf("the running registry broke off: %w", err)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}
