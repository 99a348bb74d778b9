package etcd

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"foyer/internal/etcdtest"
	"foyer/storage/engine"
)

// One cluster serves the tests that do not harm it, each with a prefix of its own.
var cluster = sync.OnceValue(func() *etcdtest.Cluster { return etcdtest.Start(main, 1) })

var main *endless

func TestMain(m *testing.M) {
	main = new(endless)
	code := m.Run()
	main.end()
	os.Exit(code)
}

// endless is a test that lasts as long as the process.
type endless struct {
	testing.TB
	cleanups []func()
}

func (e *endless) Helper()           {}
func (e *endless) Cleanup(fn func()) { e.cleanups = append(e.cleanups, fn) }
func (e *endless) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
func (e *endless) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (e *endless) TempDir() string {
	dir, err := os.MkdirTemp("", "foyer-etcd-")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (e *endless) end() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

var prefixes atomic.Int64

// newAddress returns a place for a world of its own.
func newAddress(t testing.TB) *Address {
	t.Helper()
	a, err := ParseAddress(fmt.Sprintf("etcd://%s/world %d?compact=off", cluster().Endpoints(), prefixes.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// openLog opens a log as a process would.
func openLog(t testing.TB, a *Address) *testLog {
	t.Helper()
	client, err := a.connect()
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(client, a)
	if _, _, err := l.Load(func() func(string, []byte) error { return func(string, []byte) error { return nil } }); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	tl := &testLog{clusterLog: l, stop: stop}
	behind := l.loaded + 1
	tl.done.Go(func() { l.follow(ctx, behind) })
	return tl
}

type testLog struct {
	*clusterLog
	stop context.CancelFunc
	done sync.WaitGroup
}

func (l *testLog) Close() error {
	l.stop()
	l.done.Wait()
	return l.client.Close()
}

var _ engine.SharedLog = (*testLog)(nil)
