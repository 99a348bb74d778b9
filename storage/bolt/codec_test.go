package bolt

import (
	"bytes"
	"encoding/binary"
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

func TestRegistrationRoundTrip(t *testing.T) {
	for _, r := range []foyer.Registration{
		sample,
		{Name: "bare", Address: "room://h:1", RegisteredAt: time.Time{}},
		{Name: "a", Address: "a", RegisteredAt: time.UnixMilli(-1).UTC(), LeaseEnd: -5},
		{Name: "b", Address: foyer.Address(strings.Repeat("x", foyer.MaxAddress)), RegisteredAt: sample.RegisteredAt, TTL: math.MaxUint32 * time.Second, From: netip.MustParseAddr("::1")},
	} {
		d := decoder{b: appendRegistration(nil, r)}
		if got := d.registration(string(r.Name)); d.bad || len(d.b) != 0 || got != r {
			t.Errorf("decoded %+v, want %+v", got, r)
		}
		if e := entryOf(r); e == nil || e.registration() != r {
			t.Errorf("as an entry %+v, want %+v", e.registration(), r)
		}
	}
	zoned := sample
	zoned.From = netip.MustParseAddr("fe80::1%eth0")
	if got := entryOf(zoned).registration().From; got != zoned.From.WithZone("") {
		t.Errorf("a zone was kept: %v", got)
	}
	for _, r := range []foyer.Registration{
		{}, {Name: "a"}, {Address: "a"},
		{Name: foyer.Name(strings.Repeat("x", 256)), Address: "a"},
		{Name: "a", Address: foyer.Address(strings.Repeat("x", 65))},
		{Name: "a", Address: "a", TTL: -time.Second},
		{Name: "a", Address: "a", TTL: math.MaxInt64},
	} {
		if entryOf(r) != nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

func sampleEvents() []storage.Event {
	other := sample
	other.Address, other.TTL, other.Owner = "room://h:2", 0, foyer.Key{}
	return []storage.Event{
		{Kind: storage.Registered, Time: sample.RegisteredAt, Registration: sample, From: sample.From},
		{Kind: storage.RenewedLate, Time: sample.RegisteredAt.Add(time.Minute), Registration: sample, From: sample.From},
		{Kind: storage.Evicted, Time: sample.RegisteredAt, Registration: other},
	}
}

func sampleGroup(position uint64) []byte {
	g := make([]byte, groupHeader)
	g = appendClocks(g, storage.Instant{Wall: sample.RegisteredAt, Lease: time.Hour})
	g = append(g, 1)
	g = appendOutcome(g, storage.Outcome{ID: foyer.ID{1, 2, 3}, Fingerprint: [16]byte{4}, Reply: []byte("OK")})
	events := sampleEvents()
	g = append(g, byte(len(events)))
	for _, e := range events {
		g = appendEvent(appendText(g, string(e.Registration.Name)), e)
	}
	g = append(g, 1)
	g = appendText(g, "forgotten")
	sealGroup(g, position)
	return g
}

func sampleRecord() []byte {
	r := record{position: 300, ending: 2, registered: true, current: sample}
	for _, e := range sampleEvents() {
		r.history = append(r.history, appendEvent(nil, e))
	}
	return appendRecord(nil, string(sample.Name), &r)
}

// golden compares with a file in testdata. If that has to change, the version
// of the format has to change with it. FOYER_GOLDEN=1 writes it anew.
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

func TestGroup(t *testing.T) {
	g := sampleGroup(77)
	golden(t, "group.golden", g)
	var events []storage.Event
	var outcomes, forgotten []string
	all := visitor{
		outcome: func(_ int, o storage.Outcome) { outcomes = append(outcomes, string(o.Reply)) },
		event:   func(_ string, e storage.Event, _ []byte) { events = append(events, e) },
		forget:  func(name string) { forgotten = append(forgotten, name) },
	}
	at, err := decodeGroup(77, g, all)
	if err != nil || at != (storage.Instant{Wall: sample.RegisteredAt, Lease: time.Hour}) {
		t.Errorf("%v, %v", at, err)
	}
	if !slices.Equal(events, sampleEvents()) || !slices.Equal(outcomes, []string{"OK"}) || !slices.Equal(forgotten, []string{"forgotten"}) {
		t.Errorf("decoded %+v, %q, %q", events, outcomes, forgotten)
	}
	if _, err := decodeGroup(78, g, all); !errors.Is(err, errMalformed) {
		t.Errorf("at another position: %v", err)
	}
	for i := range len(g) * 8 {
		b := bytes.Clone(g)
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeGroup(77, b, all); !errors.Is(err, errMalformed) {
			t.Errorf("with bit %d turned: %v", i, err)
		}
	}
}

func TestRecord(t *testing.T) {
	b := sampleRecord()
	golden(t, "record.golden", b)
	name := string(sample.Name)
	var r record
	if err := r.decode(name, b, recordWhole); err != nil || r.position != 300 || r.ending != 2 || r.current != sample || len(r.history) != 3 {
		t.Fatalf("%v: %+v", err, r)
	}
	for i, want := range sampleEvents() {
		d := decoder{b: r.history[i]}
		if got := d.event(name); got != want {
			t.Errorf("event %d: %+v, want %+v", i, got, want)
		}
	}
	if err := new(record).decode("Great Hal1", b, recordHead); !errors.Is(err, errMalformed) {
		t.Errorf("under another name: %v", err)
	}
	// The usual record is a registration and one byte for its event.
	usual := record{position: 1, registered: true, current: sample, history: [][]byte{appendImplied(nil, storage.Registered, sample)}}
	alone := record{position: 1, registered: true, current: sample}
	if n := len(appendRecord(nil, name, &usual)) - len(appendRecord(nil, name, &alone)); n != 1 {
		t.Errorf("the event of a registration takes %d bytes", n)
	}
}

func FuzzGroup(f *testing.F) {
	f.Add(sampleGroup(1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, g []byte) {
		if len(g) < groupHeader {
			decodeGroup(1, g, visitor{})
			return
		}
		sealGroup(g, 1) // else nothing but the checksum would be tried
		var again []byte
		again = append(again, make([]byte, groupHeader)...)
		var events, outcomes, forgotten []byte
		var n [3]int
		at, err := decodeGroup(1, g, visitor{
			outcome: func(_ int, o storage.Outcome) { outcomes = appendOutcome(outcomes, o); n[0]++ },
			event: func(name string, e storage.Event, _ []byte) {
				events = appendEvent(appendText(events, name), e)
				n[1]++
			},
			forget: func(name string) { forgotten = appendText(forgotten, name); n[2]++ },
		})
		if err != nil {
			return
		}
		// What it says can be written again and says the same.
		again = appendClocks(again, at)
		for i, part := range [][]byte{outcomes, events, forgotten} {
			again = append(binary.AppendUvarint(again, uint64(n[i])), part...)
		}
		sealGroup(again, 1)
		if at2, err := decodeGroup(1, again, visitor{event: func(string, storage.Event, []byte) { n[1]-- }}); err != nil || at2 != at || n[1] != 0 {
			t.Errorf("written again: %v, %v, want %v", at2, err, at)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add("Great Hall", sampleRecord()[4:])
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		sealed := append(make([]byte, 4), b...)
		sealRecord(sealed, name)
		var r, r2 record
		if err := r.decode(name, sealed, recordWhole); err != nil {
			return
		}
		again := appendRecord(nil, name, &r)
		if err := r2.decode(name, again, recordWhole); err != nil || r2.current != r.current || r2.position != r.position || !slices.EqualFunc(r2.history, r.history, bytes.Equal) {
			t.Errorf("written again: %+v, %v, want %+v", r2, err, r)
		}
	})
}
