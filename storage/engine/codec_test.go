package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

var sample = foyer.Registration{
	Name: "Great Hall", Address: "room://[2001:db8::1]:7",
	RegisteredAt: time.UnixMilli(1_893_553_445_678).UTC(), TTL: 30 * time.Second, LeaseEnd: 12345678901,
	Owner: foyer.Key{1, 31: 2}, From: netip.MustParseAddr("10.0.0.1"),
}

// sampleEvents are those of sample, newest first.
func sampleEvents() []storage.Event {
	other := sample
	other.Address, other.TTL, other.Owner = "room://h:2", 0, foyer.Key{}
	return []storage.Event{
		{Kind: storage.Registered, Time: sample.RegisteredAt, Registration: sample, From: sample.From},
		{Kind: storage.RenewedLate, Time: sample.RegisteredAt.Add(time.Minute), Registration: sample, From: sample.From},
		{Kind: storage.Evicted, Time: sample.RegisteredAt, Registration: other},
	}
}

func sampleRecords() []record {
	return []record{
		{registration: sample, registered: true, history: sampleEvents()},
		{registration: foyer.Registration{Name: "ended"}, ended: endOrder{300, 2}, history: []storage.Event{
			{Kind: storage.Expired, Time: sample.RegisteredAt, Registration: foyer.Registration{Name: "ended", Address: "room://h:1"}},
		}},
		{registration: foyer.Registration{Name: "held"}, hold: storage.Hold{Name: "held", Since: sample.RegisteredAt, Until: sample.RegisteredAt.Add(time.Hour)}},
		{registration: foyer.Registration{Name: "forgotten"}},
	}
}

// exitsRecord is the first of sampleRecords, with exits.
func exitsRecord() record {
	r := sampleRecords()[0]
	r.registration.Exits = "n:Study\nd:Wine Cellar"
	r.hold = storage.Hold{Name: sample.Name, Since: sample.RegisteredAt, Until: sample.RegisteredAt.Add(time.Hour)}
	return r
}

func sampleGroup(position uint64) []byte {
	g := group{at: storage.Instant{Wall: sample.RegisteredAt, Lease: time.Hour}}
	g.outcomes = appendOutcome(nil, &storage.Outcome{ID: foyer.ID{1, 2, 3}, Fingerprint: [16]byte{4}, Reply: []byte("OK")})
	for _, r := range sampleRecords() {
		g.entries = r.append(g.entries)
	}
	return g.append(nil, position)
}

func samplePiece() []byte {
	b := make([]byte, pieceHeader)
	for _, r := range sampleRecords()[:3] {
		b = r.append(b)
	}
	seal(piecePlace("Great Hall"), b)
	return b
}

var sampleState = state{
	counters: counters{End: 4, Outcomes: 2, Snapshot: 3, Pieces: 4, Digest: 5, Registered: 6},
	last:     storage.Instant{Wall: time.Unix(1_893_553_445, 678_901_234).UTC(), Lease: -time.Hour},
}

// golden compares with a file in testdata. If that has to change, the versions of
// the backends' formats have to change with it. FOYER_GOLDEN=1 writes it anew.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("FOYER_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if hex.Dump(got) != string(want) {
		t.Errorf("%s:\n%swant\n%s", name, hex.Dump(got), want)
	}
}

func TestRegistrationRoundTrip(t *testing.T) {
	for _, g := range []foyer.Registration{
		sample,
		{Name: "bare", Address: "room://h:1", RegisteredAt: time.UnixMilli(0).UTC()},
		{Name: "a", Address: "a", RegisteredAt: time.UnixMilli(-1).UTC(), LeaseEnd: -5},
		{
			Name: foyer.Name(strings.Repeat("n", foyer.MaxName)), Address: foyer.Address(strings.Repeat("x", foyer.MaxAddress)),
			RegisteredAt: sample.RegisteredAt, TTL: maxTTL * time.Second, From: netip.MustParseAddr("::1"),
			Exits: foyer.Exits(strings.Repeat("x", maxExits)),
		},
		{Name: "exits", Address: "room://h:1", RegisteredAt: sample.RegisteredAt, Exits: "n:a"},
	} {
		r := record{registration: g, registered: true}
		if !fits(&g) {
			t.Errorf("%+v does not fit", g)
		}
		if got := entryOf(&r).registration(); got != g {
			t.Errorf("as an entry %+v, want %+v", got, g)
		}
	}
	zoned := record{registration: sample, registered: true}
	zoned.registration.From = netip.MustParseAddr("fe80::1%eth0")
	if got := entryOf(&zoned).registration().From; got != netip.MustParseAddr("fe80::1") {
		t.Errorf("a zone was kept: %v", got)
	}
	for _, g := range []foyer.Registration{
		{}, {Name: "a"}, {Address: "a"},
		{Name: foyer.Name(strings.Repeat("x", foyer.MaxName+1)), Address: "a"},
		{Name: "a", Address: foyer.Address(strings.Repeat("x", foyer.MaxAddress+1))},
		{Name: "a", Address: "a", TTL: -time.Second},
		{Name: "a", Address: "a", TTL: (maxTTL + 1) * time.Second},
		{Name: "a", Address: "a", TTL: math.MaxInt64},
		{Name: "a", Address: "a", Exits: foyer.Exits(strings.Repeat("x", maxExits+1))},
	} {
		if fits(&g) {
			t.Errorf("%+v fits", g)
		}
	}
}

func newArena() *arena {
	a := new(arena)
	a.chunks.Store(new([]*chunk))
	return a
}

// entryOf returns an entry in an arena of its own.
func entryOf(r *record) *entry {
	_, e := (&appender{arena: newArena()}).add(r.append(nil))
	return e
}

func sameRecord(a, b *record) bool {
	return a.registration == b.registration && a.registered == b.registered && a.ended == b.ended &&
		a.hold == b.hold && slices.Equal(a.history, b.history)
}

func TestEntry(t *testing.T) {
	var all []byte
	for _, want := range append(sampleRecords(), exitsRecord()) {
		b := want.append(nil)
		all = append(all, b...)
		var got record
		e := entryOf(&want)
		if err := got.read(string(want.registration.Name), e); err != nil || !sameRecord(&got, &want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if !bytes.Equal(got.append(nil), b) {
			t.Error("written again it is different")
		}
		if d, err := decodeEntry(all[len(all)-len(b):]); err != nil || d.size() != len(b) || e.size() != len(b) || len(b)%entryAlign != 0 {
			t.Errorf("it has %d bytes, %v; want %d", e.size(), err, len(b))
		}
		if says := want.registered || len(want.history) > 0 || !want.hold.Until.IsZero(); e.known() != says {
			t.Errorf("%+v says something: %v", want, !says)
		}
		if ended := !want.registered && len(want.history) > 0; e.isEnded() != ended {
			t.Errorf("%+v has ended: %v", want, !ended)
		}
		for n := range b { // cut off anywhere
			if _, err := decodeEntry(b[:n:n]); err == nil {
				t.Errorf("%d bytes of %d are an entry", n, len(b))
			}
		}
	}
	exits := exitsRecord()
	n := len(exits.append(nil))
	golden(t, "entries.golden", all[:len(all)-n])
	golden(t, "exits.golden", all[len(all)-n:])
	// The usual history is one event, of the registration itself.
	usual := record{registration: sample, registered: true, history: sampleEvents()[:1]}
	if n := entryOf(&usual).historyLen(); n != 2 {
		t.Errorf("the event of a registration takes %d bytes", n)
	}
}

// TestLargestEntry: an entry has two bytes for the length of its history.
func TestLargestEntry(t *testing.T) {
	want := record{registered: true, hold: storage.Hold{Since: sample.RegisteredAt, Until: sample.RegisteredAt}}
	for i := range storage.HistoryPerName {
		r := sample
		r.Name = foyer.Name(strings.Repeat("n", foyer.MaxName))
		r.Address = foyer.Address(strings.Repeat(string(rune('a'+i)), foyer.MaxAddress))
		r.From = netip.AddrFrom16([16]byte{15: byte(i)})
		r.Owner[0] = byte(i + 1)
		r.Exits = foyer.Exits(strings.Repeat("x", maxExits))
		r.LeaseEnd, r.TTL, r.RegisteredAt = math.MinInt64+time.Duration(i), maxTTL*time.Second, time.UnixMilli(math.MinInt32*int64(i+1)).UTC()
		e := storage.Event{Kind: storage.Replaced, Time: time.UnixMilli(1e15).UTC(), Registration: r, From: netip.AddrFrom16([16]byte{0: byte(i)})}
		want.registration, want.hold.Name = r, r.Name
		want.apply(&e, endOrder{})
	}
	var got record
	if err := got.read(string(want.registration.Name), entryOf(&want)); err != nil || !sameRecord(&got, &want) || len(got.history) != storage.HistoryPerName {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestGroup(t *testing.T) {
	b := sampleGroup(77)
	golden(t, "group.golden", b)
	g, err := decodeGroup(77, b)
	if err != nil || g.at != (storage.Instant{Wall: sample.RegisteredAt, Lease: time.Hour}) {
		t.Fatalf("%v, %v", g.at, err)
	}
	if groupLength(b) != uint64(len(b)) {
		t.Errorf("its length is %d, and it says %d", len(b), groupLength(b))
	}
	n := 0
	for at, o := range g.eachOutcome() {
		d := decoder{b: b[at-77:]}
		if again := d.outcome(); string(o.Reply) != "OK" || o.ID != (foyer.ID{1, 2, 3}) || again.ID != o.ID || !bytes.Equal(again.Reply, o.Reply) {
			t.Errorf("at %d is %+v, and read again %+v", at, o, again)
		}
		n++
	}
	if n != 1 {
		t.Errorf("there are %d outcomes", n)
	}
	var names []string
	err = eachEntry(g.entries, func(e *entry) error {
		names = append(names, e.name())
		return nil
	})
	if err != nil || !slices.Equal(names, []string{"Great Hall", "ended", "held", "forgotten"}) {
		t.Errorf("the entries are %q, %v", names, err)
	}
	if _, err := decodeGroup(78, b); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("at another position: %v", err)
	}
	for i := range len(b) * 8 {
		b := bytes.Clone(b)
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeGroup(77, b); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("with bit %d turned: %v", i, err)
		}
	}
}

func TestPiece(t *testing.T) {
	b := samplePiece()
	golden(t, "piece.golden", b)
	read := func(key string, b []byte) error {
		return (&loader{arena: newArena()}).newWorker()(key, b)
	}
	if err := read("Great Hall", b); err != nil {
		t.Error(err)
	}
	if err := read("Great Hal1", b); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("with another key: %v", err)
	}
	for i := range len(b) * 8 {
		b := bytes.Clone(b)
		b[i/8] ^= 1 << (i % 8)
		if err := read("Great Hall", b); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("with bit %d turned: %v", i, err)
		}
	}
	for n := range b {
		if err := read("Great Hall", b[:n]); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	// What has a good checksum and is none of the piece's all the same.
	early, nothing := record{registration: foyer.Registration{Name: "A"}, history: sampleEvents()[:1]}, sampleRecords()[3]
	nothing.registration.Name = "X"
	for _, r := range []record{early, nothing} {
		b := r.append(bytes.Clone(b))
		seal(piecePlace("Great Hall"), b)
		if err := read("Great Hall", b); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("with %+v: %v", r, err)
		}
	}
}

func TestState(t *testing.T) {
	s := sampleState
	b := s.encode()
	golden(t, "state.golden", b)
	if got, err := decodeState(b); err != nil || got != s {
		t.Errorf("%+v, %v; want %+v", got, err, s)
	}
	for i := range len(b) * 8 {
		b := bytes.Clone(b)
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeState(b); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("with bit %d turned: %v", i, err)
		}
	}
	for n := range b {
		if _, err := decodeState(b[:n]); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	for _, bad := range []state{{counters: counters{End: 1, Outcomes: 2}}, {counters: counters{End: 1, Snapshot: 2}}} {
		if _, err := decodeState(bad.encode()); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// FuzzGroup gives groups of the fuzzer's making the right checksum. Those that
// decode can be written again and say the same.
func FuzzGroup(f *testing.F) {
	f.Add(sampleGroup(1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < groupHeader {
			decodeGroup(1, b)
			return
		}
		seal(groupPlace(1), b)
		g, err := decodeGroup(1, b)
		if err != nil {
			return
		}
		for range g.eachOutcome() {
		}
		again, err := decodeGroup(1, g.append(nil, 1))
		if err != nil || again.at != g.at || !bytes.Equal(again.outcomes, g.outcomes) || !bytes.Equal(again.entries, g.entries) {
			t.Errorf("written again: %+v, %v, want %+v", again, err, g)
		}
	})
}

// FuzzEntry reads entries of the fuzzer's making. Those that decode can be written
// again and say the same.
func FuzzEntry(f *testing.F) {
	for _, r := range append(sampleRecords(), exitsRecord()) {
		f.Add(r.append(nil))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachEntry(b, func(e *entry) error {
			var r, again record
			if err := r.read(e.name(), e); err != nil {
				return err
			}
			if err := again.read(e.name(), entryOf(&r)); err != nil || !sameRecord(&again, &r) {
				t.Errorf("written again: %+v, %v, want %+v", again, err, r)
			}
			return nil
		})
	})
}
