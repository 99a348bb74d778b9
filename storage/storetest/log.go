package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"foyer/internal/testenv"
	"foyer/storage/engine"
)

// TestLog holds an [engine.Log] to its contract. For each of its subtests it calls
// setup, which makes a new place for a log and returns a function that opens the
// log there. That function is called again only after the log that it returned
// before was closed, and finds what that one left.
func TestLog(t *testing.T, setup func(t *testing.T) (open func() engine.Log)) {
	for _, property := range []struct {
		name string
		test func(*logPlace)
	}{
		{"ANewLogIsEmpty", testNewLog},
		{"WhatIsAppendedIsReadBack", testLogReadBack},
		{"OnlyWhatIsThereCanBeRead", testLogBounds},
		{"TwoMayReadSideBySide", testLogReaders},
		{"WhatIsNotNeededMayGo", testLogNeeded},
		{"EachPieceIsShownOnce", testLogPieces},
		{"TheErrorOfAWorkerEndsLoad", testLogWorkerError},
		{"AConflictChangesNothing", testLogConflict},
		{"GroupsAndPiecesMayBeLarge", testLogLarge},
		{"AGroupMayBeEmpty", testLogEmptyGroup},
		{"KeysAreAnyBytes", testLogKeys},
		{"ABatchIsNotKept", testLogBatchReused},
		{"RandomBatches", testLogRandom},
	} {
		t.Run(property.name, func(t *testing.T) {
			p := &logPlace{t: t, open: setup(t), pieces: map[string]string{}}
			p.Log = p.open()
			t.Cleanup(func() { p.Close() })
			property.test(p)
		})
	}
}

// A logPlace is a log under test, the way to open it again, and what it must hold.
type logPlace struct {
	engine.Log
	t    *testing.T
	open func() engine.Log

	log    []byte // all that was ever appended
	needed uint64
	pieces map[string]string
	state  []byte
	saved  bool // a snapshot of a shared log
}

func (p *logPlace) end() uint64 { return uint64(len(p.log)) }

// append appends a group and pieces; an
// empty one is taken away.
func (p *logPlace) append(group []byte, pieces map[string]string) {
	p.t.Helper()
	b := p.batch(group, pieces)
	if err := p.Append(b); err != nil {
		p.t.Fatalf("Append at %d: %v", b.Position, err)
	}
	p.log = append(p.log, group...)
	p.state = b.State
	for key, value := range pieces {
		if p.pieces[key] = value; value == "" {
			delete(p.pieces, key)
		}
	}
	p.save(len(pieces) > 0)
}

// save gives a log that is shared the pieces, which it takes all at once.
func (p *logPlace) save(changed bool) {
	p.t.Helper()
	shared, ok := p.Log.(engine.SharedLog)
	if !ok || !changed {
		return
	}
	if err := shared.Save(p.needed, func(yield func(string, []byte) bool) {
		for key, value := range p.pieces {
			if !yield(key, []byte(value)) {
				return
			}
		}
	}, func() []byte { return []byte("summary of " + fmt.Sprint(len(p.pieces))) }); err != nil {
		p.t.Fatalf("Save: %v", err)
	}
	p.saved = true
}

func (p *logPlace) batch(group []byte, pieces map[string]string) *engine.Batch {
	b := &engine.Batch{Position: p.end(), Group: group, State: fmt.Appendf(nil, "state at %d", p.end()), Needed: p.needed, Pieces: map[string][]byte{}}
	for key := range pieces {
		b.Pieces[key] = nil
		if pieces[key] != "" {
			b.Pieces[key] = []byte(pieces[key])
		}
	}
	return b
}

// check compares all that the log says with what it must hold.
func (p *logPlace) check() {
	p.t.Helper()
	if end, err := p.End(); err != nil || end != p.end() {
		p.t.Fatalf("End() = %d, %v; want %d", end, err, p.end())
	}
	if err := p.Check(); err != nil {
		p.t.Errorf("Check: %v", err)
	}
	p.wantBytes(p.needed, p.end())
	shown := map[string]string{}
	times := map[string]int{}
	var mu sync.Mutex
	state, end, err := p.Load(func() func(string, []byte) error {
		return func(key string, value []byte) error {
			mu.Lock()
			defer mu.Unlock()
			key = strings.Clone(key)
			shown[key] = string(value)
			times[key]++
			return nil
		}
	})
	if err != nil || end != p.end() || (state == nil) != (p.state == nil) || !bytes.Equal(state, p.state) {
		p.t.Fatalf("Load: %q, %d, %v; want %q, %d", state, end, err, p.state, p.end())
	}
	if shared, ok := p.Log.(engine.SharedLog); ok && p.saved {
		if got, want := string(shared.Summary()), fmt.Sprint("summary of ", len(p.pieces)); got != want {
			p.t.Errorf("the summary is %q, want %q", got, want)
		}
	}
	if !maps.Equal(shown, p.pieces) {
		p.t.Fatalf("Load shows the pieces %q, want %q", slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(p.pieces)))
	}
	for key, n := range times {
		if n != 1 {
			p.t.Errorf("Load shows the piece %q %d times", key, n)
		}
	}
}

// checkBoth checks, and checks again after a restart.
func (p *logPlace) checkBoth() {
	p.t.Helper()
	p.check()
	p.reopen()
	p.check()
}

func (p *logPlace) reopen() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatalf("Close: %v", err)
	}
	p.Log = p.open()
}

// wantBytes reads what was appended from one position to another.
func (p *logPlace) wantBytes(from, to uint64) {
	p.t.Helper()
	b := make([]byte, to-from)
	if n, err := p.ReadAt(b, int64(from)); uint64(n) != to-from || err != nil {
		p.t.Fatalf("ReadAt from %d to %d: %d, %v", from, to, n, err)
	}
	if !bytes.Equal(b, p.log[from:to]) {
		p.t.Fatalf("ReadAt from %d to %d: not what was appended there", from, to)
	}
}

func (p *logPlace) wantNothing(from int64, n int) {
	p.t.Helper()
	if got, err := p.ReadAt(make([]byte, n), from); err == nil {
		p.t.Errorf("ReadAt(%d bytes, %d) = %d, nil; the log ends at %d", n, from, got, p.end())
	}
}

// someBytes returns n bytes of which no two stretches are alike.
func someBytes(r *rand.Rand, n int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func newRand(t *testing.T) *rand.Rand { return rand.New(rand.NewPCG(testenv.Seed(t), 3)) }

func testNewLog(p *logPlace) {
	p.check()
	p.wantNothing(0, 1)
	p.checkBoth()
}

func testLogReadBack(p *logPlace) {
	r := newRand(p.t)
	for i := range 60 {
		p.append(someBytes(r, 1+r.IntN(1<<r.IntN(14))), nil)
		for range 5 {
			from := uint64(r.IntN(len(p.log) + 1))
			p.wantBytes(from, from+uint64(r.IntN(len(p.log)-int(from)+1)))
		}
		if i%15 == 14 {
			p.checkBoth()
		}
	}
	for from := range p.end() { // at every place, whatever the log is cut into
		p.wantBytes(from, min(from+3, p.end()))
		if from > 5000 {
			break
		}
	}
}

func testLogBounds(p *logPlace) {
	p.append([]byte("a group"), nil)
	for range 2 {
		p.wantBytes(6, 7)
		p.wantNothing(6, 2)
		p.wantNothing(7, 1)
		p.wantNothing(0, 8)
		p.wantNothing(1<<40, 1)
		p.wantNothing(1<<62, 100)
		p.reopen()
	}
	p.check()
}

func testLogReaders(p *logPlace) {
	r := newRand(p.t)
	for range 20 {
		p.append(someBytes(r, 3000), nil)
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			b := make([]byte, 700)
			for from := 0; from+len(b) <= len(p.log); from += 111 {
				if n, err := p.ReadAt(b, int64(from)); n != len(b) || err != nil || !bytes.Equal(b, p.log[from:from+n]) {
					p.t.Errorf("ReadAt from %d: %d, %v", from, n, err)
					return
				}
			}
		})
	}
	readers.Wait()
}

// testLogNeeded lets the log follow from far behind, then catch up at once, and then
// be of no use altogether.
func testLogNeeded(p *logPlace) {
	r := newRand(p.t)
	old := func() {
		p.t.Helper()
		for range 10 {
			from := r.IntN(int(p.needed))
			b := make([]byte, 1+r.IntN(10))
			if n, err := p.ReadAt(b, int64(from)); err == nil && !bytes.Equal(b[:n], p.log[from:from+n]) {
				p.t.Fatalf("ReadAt(%d bytes, %d), where nothing is needed: made up", len(b), from)
			}
		}
	}
	for i := range 200 {
		if i > 50 {
			p.needed += uint64(r.IntN(int(p.end()-p.needed) / 20))
		}
		p.append(someBytes(r, 1+r.IntN(3000)), nil)
		p.wantBytes(p.needed, p.end())
		if p.needed > 0 {
			old()
		}
		if i%40 == 39 {
			p.checkBoth()
		}
	}
	for range 3 {
		p.needed = p.end()
		p.append(someBytes(r, 100), nil)
		p.checkBoth()
		old()
	}
	p.needed = p.end()
	for range 100 { // while nothing is appended
		p.append(nil, nil)
	}
	p.checkBoth()
	p.append([]byte("more"), nil)
	p.checkBoth()
}

func testLogPieces(p *logPlace) {
	r := newRand(p.t)
	p.append([]byte("group"), map[string]string{"": "first", "m": "middle", "t": "last"})
	p.checkBoth()
	p.append([]byte("group"), map[string]string{"m": "", "": "first, with the middle"})
	p.checkBoth()
	p.append([]byte("group"), map[string]string{"not there": ""})
	p.append([]byte("group"), map[string]string{"m": "again"})
	p.append([]byte("group"), map[string]string{"m": string(someBytes(r, 10_000))})
	p.append([]byte("group"), map[string]string{"m": "short again"})
	p.checkBoth()
	p.append([]byte("group"), map[string]string{"": "", "m": "", "t": ""})
	p.checkBoth()
}

func testLogWorkerError(p *logPlace) {
	for i := range 50 {
		p.append([]byte("group"), map[string]string{fmt.Sprint("key ", i): "value"})
	}
	broken := errors.New("broken")
	_, _, err := p.Load(func() func(string, []byte) error {
		return func(key string, _ []byte) error {
			if key == "key 7" {
				return broken
			}
			return nil
		}
	})
	if !errors.Is(err, broken) {
		p.t.Errorf("Load: %v, want %v", err, broken)
	}
	p.checkBoth()
}

func testLogConflict(p *logPlace) {
	r := newRand(p.t)
	p.append(someBytes(r, 5000), map[string]string{"a": "1", "b": "2"})
	for range 2 {
		for _, position := range []uint64{0, 1, 4999, 5001, 1 << 50} {
			for _, group := range [][]byte{nil, []byte("theirs"), someBytes(r, 5000)} {
				b := p.batch(group, map[string]string{"a": "other", "b": "", "c": "3"})
				b.Position = position
				b.Needed = 4000
				b.State = []byte("another state")
				if err := p.Append(b); !errors.Is(err, engine.ErrConflict) {
					p.t.Errorf("Append at %d instead of 5000: %v, want engine.ErrConflict", position, err)
				}
			}
		}
		p.checkBoth()
	}
	p.append([]byte("ours"), nil)
	p.checkBoth()
}

func testLogLarge(p *logPlace) {
	r := newRand(p.t)
	for _, size := range []int{1 << 20, 8 << 20} {
		p.append(someBytes(r, size), nil)
		p.append([]byte("small"), map[string]string{"small": "piece", "large": string(someBytes(r, size))})
		p.check()
	}
	p.reopen()
	p.check()
	p.needed = p.end()
	p.append([]byte("small"), map[string]string{"large": "not any more"})
	p.checkBoth()
}

func testLogEmptyGroup(p *logPlace) {
	p.append(nil, nil)
	p.checkBoth()
	p.append(nil, map[string]string{"a": "1"})
	p.checkBoth()
	p.append([]byte("group"), nil)
	p.append(nil, map[string]string{"a": "2", "b": "3"})
	p.state = nil
	b := p.batch(nil, nil)
	b.State = []byte("another state at the same place")
	if err := p.Append(b); err != nil {
		p.t.Fatal(err)
	}
	p.state = b.State
	p.checkBoth()
}

// testLogKeys: a key is the name of a registration, at most 255 bytes, or empty.
func testLogKeys(p *logPlace) {
	all := map[string]string{}
	for _, key := range []string{
		"", "\x00", "\x00\x00", "/", "//", "\xff", strings.Repeat("\xff", 255), strings.Repeat("\x00", 255),
		"a", "a\x00", "a\x00b", "a/b", "../a", "é", "\xc3\x28", " ", "\n", "%2f",
	} {
		all[key] = "of " + key
	}
	p.append([]byte("group"), all)
	p.checkBoth()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		p.append(nil, map[string]string{key: ""})
		p.check()
	}
	p.checkBoth()
}

// testLogBatchReused writes over a batch that was appended: its memory is the
// engine's again.
func testLogBatchReused(p *logPlace) {
	r := newRand(p.t)
	for range 20 {
		group := someBytes(r, 500)
		b := p.batch(bytes.Clone(group), map[string]string{"a": string(group), "b": "value"})
		state := bytes.Clone(b.State)
		if err := p.Append(b); err != nil {
			p.t.Fatal(err)
		}
		clear(b.Group)
		clear(b.State)
		for _, piece := range b.Pieces {
			clear(piece)
		}
		p.log = append(p.log, group...)
		p.state, p.pieces["a"], p.pieces["b"] = state, string(group), "value"
		p.save(true)
		p.check()
	}
	p.checkBoth()
}

func testLogRandom(p *logPlace) {
	r := newRand(p.t)
	for i := range 300 {
		p.needed = max(p.needed, uint64(r.IntN(len(p.log)+1))*uint64(r.IntN(2)))
		pieces := map[string]string{}
		for range r.IntN(4) {
			key := fmt.Sprint("key ", r.IntN(40))
			if pieces[key] = ""; r.IntN(3) > 0 {
				pieces[key] = string(someBytes(r, 1+r.IntN(1<<r.IntN(14))))
			}
		}
		p.append(someBytes(r, r.IntN(1<<r.IntN(13))), pieces)
		switch {
		case r.IntN(10) == 0:
			p.checkBoth()
		case i%10 == 0:
			p.check()
		}
	}
	p.checkBoth()
}
