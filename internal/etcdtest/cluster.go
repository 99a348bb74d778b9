// Package etcdtest runs etcd clusters for tests: the real server, on loopback, in
// processes of its own.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Cluster is some members, which can be killed and started again.
type Cluster struct {
	t       testing.TB
	program string
	members []*member
}

type member struct {
	args    []string
	client  string // host:port
	log     string // the file
	process *exec.Cmd
}

// Start starts a cluster of n members and waits until it has a leader. It ends with the
// test. Flags are given to each member.
func Start(t testing.TB, n int, flags ...string) *Cluster {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("building etcd: %v", err)
	}
	c := &Cluster{t: t, program: program}
	var peers, clients []string
	for range n {
		peers, clients = append(peers, freeAddress(t)), append(clients, freeAddress(t))
	}
	var initial []string
	for i, p := range peers {
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, p))
	}
	dir := t.TempDir()
	for i := range n {
		c.members = append(c.members, &member{client: clients[i], log: filepath.Join(dir, fmt.Sprintf("m%d.log", i)), args: append([]string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, fmt.Sprintf("m%d", i)),
			"--listen-client-urls", "http://" + clients[i], "--advertise-client-urls", "http://" + clients[i],
			"--listen-peer-urls", "http://" + peers[i], "--initial-advertise-peer-urls", "http://" + peers[i],
			"--initial-cluster", strings.Join(initial, ","), "--initial-cluster-token", filepath.Base(dir), "--log-level", "warn",
		}, flags...)})
	}
	t.Cleanup(func() {
		for i := range c.members {
			c.Kill(i)
		}
	})
	for i := range c.members {
		c.Restart(i)
	}
	c.WaitHealthy()
	return c
}

// Endpoints returns the addresses of all members, as they stand in a list of --store.
func (c *Cluster) Endpoints() string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.client)
	}
	return strings.Join(all, ",")
}

// Endpoint returns the address of a member.
func (c *Cluster) Endpoint(i int) string { return c.members[i].client }

// Process returns the process of a member, for signals.
func (c *Cluster) Process(i int) *os.Process { return c.members[i].process.Process }

// Kill kills a member, with SIGKILL. What it has flushed stays.
func (c *Cluster) Kill(i int) {
	if m := c.members[i]; m.process != nil {
		_ = m.process.Process.Kill()
		_ = m.process.Wait()
		m.process = nil
	}
}

// Restart starts a member that is not running.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	m := c.members[i]
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	m.process = exec.Command(c.program, m.args...)
	m.process.Stdout, m.process.Stderr = log, log
	tie(m.process)
	if err := m.process.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// startTime bounds how long members take to start, on a machine that is busy.
const startTime = time.Minute

// WaitHealthy waits until every member that runs has a leader.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for _, m := range c.members {
		if m.process == nil {
			continue
		}
		if err := m.waitHealthy(ctx); err != nil {
			log, _ := os.ReadFile(m.log)
			c.t.Fatalf("etcd at %s: %v\n%s", m.client, err, log)
		}
	}
}

func (m *member) waitHealthy(ctx context.Context) error {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.client+"/health", nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.New("it is not healthy")
		}
	}
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// build returns the path of the server's program, which it builds once, into build/.
var build = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), "server")
	folder := filepath.Join(source, "..", "..", "..", "build")
	program := filepath.Join(folder, "etcd")
	if upToDate(program, source) {
		return program, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	temporary, err := os.MkdirTemp(folder, "etcd-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	fresh := filepath.Join(temporary, "etcd")
	cmd := exec.Command("go", "build", "-o", fresh, ".")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, os.Rename(fresh, program)
})

// upToDate reports whether a program is newer than all files of its source.
func upToDate(program, source string) bool {
	p, err := os.Stat(program)
	if err != nil {
		return false
	}
	files, err := os.ReadDir(source)
	for _, f := range files {
		info, infoErr := f.Info()
		if infoErr != nil || info.ModTime().After(p.ModTime()) {
			return false
		}
	}
	return err == nil
}
