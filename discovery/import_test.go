package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

func dumpLine(name, address string, ttl int, owner string) string {
	return fmt.Sprintf(`{"name":%q,"address":%q,"registered_at":"2026-01-31T20:15:04.123Z","ttl_seconds":%d,"owner":%q,"from":"192.0.2.10"}`+"\n", name, address, ttl, owner)
}

func readLines(t *testing.T, lines ...string) *Dump {
	t.Helper()
	d, err := ReadDump(strings.NewReader(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// importAll imports lines, which are new.
func (b *bench) importAll(lines ...string) {
	b.t.Helper()
	if done, err := b.server.Import(b.t.Context(), readLines(b.t, lines...)); err != nil || done != (Imported{New: len(lines)}) {
		b.t.Errorf("Import = %+v, %v", done, err)
	}
}

// What is imported has its lease in full from then on, and belongs to its owner;
// requests that were under way before do not shorten it.
func TestImportedLeases(t *testing.T) {
	for _, restart := range []bool{false, true} {
		run(t, func(b *bench) {
			before := b.signed(1, ";ttl=5", "RENEW room://192.0.2.10:1 Foyer")
			time.Sleep(time.Minute)
			b.importAll(dumpLine("Foyer", "room://192.0.2.10:1", 60, publicKey(1)), dumpLine("Hall", "room://192.0.2.10:2", 60, ""), dumpLine("Attic", "room://192.0.2.10:3", 0, ""))
			if restart {
				b.restart()
			}
			time.Sleep(time.Second)
			b.expectCode(before, "OK")
			time.Sleep(57 * time.Second)
			for _, name := range []string{"Foyer", "Hall", "Attic"} {
				b.expectCode("@x= LOOKUP "+name, "OK")
			}
			b.expectCode(b.signed(2, "", "RENEW room://192.0.2.10:1 Foyer"), foyer.BadSignature)
			b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:1 Foyer"), "OK")
			time.Sleep(10 * time.Second)
			b.expectCode("@x= LOOKUP Foyer", "OK")
			b.expectCode("@x= LOOKUP Hall", foyer.UnknownName)
			b.expectCode("@x= LOOKUP Attic", "OK")
			time.Sleep(time.Minute)
			b.expectCode("@x= LOOKUP Foyer", foyer.UnknownName)
			if got := kinds(b, "Hall"); got != "expired registered" {
				t.Errorf("the history is %q", got)
			}
		})
	}
}

// The history of a name goes on with the moment of the import, and nobody's.
func TestImportedHistory(t *testing.T) {
	run(t, func(b *bench) {
		b.expect("REGISTER room://192.0.2.10:9 Foyer", "OK")
		b.expect("DEREGISTER Foyer", "OK")
		time.Sleep(time.Second)
		now := b.server.clock.now()
		b.importAll(dumpLine("Foyer", "room://192.0.2.10:1", 0, ""))
		events, err := b.store.History("Foyer")
		if err != nil || len(events) != 3 {
			t.Fatalf("the history is %+v, %v", events, err)
		}
		if e := &events[0]; e.Kind != storage.Registered || !e.Time.Equal(now) || e.From.IsValid() {
			t.Errorf("the event is %+v", e)
		}
		if r, err := b.store.Find([]byte("Foyer")); err != nil || r.RegisteredAt.Format(time.RFC3339Nano) != "2026-01-31T20:15:04.123Z" || r.From.String() != "192.0.2.10" {
			t.Errorf("Find = %+v, %v", r, err)
		}
	})
}

// The operator imports more than a host may register, and what is not authorized.
// It counts for the host.
func TestImportOverQuota(t *testing.T) {
	limited(t, 2, func(b *bench) {
		b.server.AuthorizeOnly([]foyer.Key{{1}})
		b.importAll(dumpLine("Foyer", "room://192.0.2.10:1", 60, ""), dumpLine("Hall", "room://192.0.2.11:2", 60, ""), dumpLine("Attic", "room://192.0.2.12:3", 0, publicKey(1)))
		b.server.AuthorizeOnly(nil)
		b.expectCode("@x= REGISTER room://192.0.2.10:4 Vault", foyer.Busy)
		b.expect("DEREGISTER Foyer", "OK")
		b.expect("DEREGISTER Hall", "OK")
		b.expectCode("@x= REGISTER room://192.0.2.10:4 Vault", "OK")
	})
}

// An import of which it is not known whether it happened is not denied; when the
// disk is back it can be asked for again, and has its leases.
func TestUncertainImport(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Kept, storetest.Lost} {
		run(t, func(b *bench) {
			d := readLines(t, dumpLine("Foyer", "room://192.0.2.10:1", 60, ""), dumpLine("Hall", "room://192.0.2.10:2", 60, ""))
			b.store.Fail(fault)
			if done, err := b.server.Import(b.t.Context(), d); !errors.Is(err, storage.ErrUncertain) || done != (Imported{}) {
				t.Errorf("Import = %+v, %v", done, err)
			}
			time.Sleep(time.Second)
			want := Imported{New: 2}
			if fault == storetest.Kept {
				want = Imported{Known: 2}
			}
			if done, err := b.server.Import(b.t.Context(), d); err != nil || done != want {
				t.Errorf("%v: Import = %+v, %v", fault, done, err)
			}
			b.store.Fail(storetest.Refused)
			d = readLines(t, dumpLine("Attic", "room://192.0.2.10:3", 60, ""))
			if done, err := b.server.Import(b.t.Context(), d); !errors.Is(err, foyer.ErrUnavailable) || done != (Imported{}) {
				t.Errorf("Import = %+v, %v", done, err)
			}
			b.expectCode("@x= LOOKUP Attic", foyer.UnknownName)
			time.Sleep(70 * time.Second)
			b.expectCode("@x= LOOKUP Foyer", foyer.UnknownName)
		})
	}
}

// A large dump takes several transactions. If something is in the way of any of
// its lines nothing is imported; if a room registers one of its names after they
// were checked, what was imported before stays.
func TestImportInConflict(t *testing.T) {
	store := storetest.NewModel(storetest.Sabotage{})
	lines := make([]string, ImportBatch+10)
	for i := range lines {
		lines[i] = dumpLine(fmt.Sprintf("Room %06d", i), fmt.Sprintf("room://a%d.example:1", i), 60, "")
	}
	d := readLines(t, lines...)
	now := storage.Instant{Wall: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
	stranger := foyer.Registration{Name: "Somebody else", Address: d.rows[ImportBatch+3].Address, RegisteredAt: now.Wall}
	calls, at := 0, 0 // at which call of update the stranger comes
	update := func(fn func(storage.Tx, storage.Instant) error) error {
		calls++
		return store.Update(now, func(tx storage.Tx) error {
			if calls == at {
				if err := tx.Apply(storage.Event{Kind: storage.Registered, Time: now.Wall, Registration: stranger}); err != nil {
					return err
				}
			}
			return fn(tx, now)
		})
	}
	for _, c := range []struct{ at, imported int }{{2, 0}, {4, ImportBatch}} {
		calls, at = 0, c.at
		done, err := Import(d, update)
		refused, ok := errors.AsType[*LineError](err)
		if !ok || refused.Line != ImportBatch+4 || done != (Imported{New: c.imported}) || store.Len() != c.imported {
			t.Errorf("Import = %+v, %v, and %d are registered", done, err, store.Len())
		}
	}
	at = 0
	if done, err := Import(d, update); err != nil || done != (Imported{New: 10, Known: ImportBatch}) {
		t.Errorf("Import = %+v, %v", done, err)
	}
}

func TestDumpBounds(t *testing.T) {
	lines := dumpLine("Foyer", "room://192.0.2.10:1", 60, "") + dumpLine("Hall", "room://192.0.2.10:2", 60, "")
	size := int64(len(lines))
	for _, c := range []struct {
		lines int
		bytes int64
		want  string
	}{
		{2, size, ""},
		{1, size, "line 2: 1 registrations can be imported at once: import the rest in a file of its own"},
		{2, size - 1, "the dump is longer than 0 MiB: import it in parts"},
	} {
		if _, err := readDump(strings.NewReader(lines), c.lines, c.bytes); fmt.Sprint(err) != c.want && (err != nil || c.want != "") {
			t.Errorf("with %d lines and %d bytes: %v", c.lines, c.bytes, err)
		}
	}
}

// What is read from a dump can be printed, and is then read as the same.
func FuzzReadDump(f *testing.F) {
	f.Add(dumpLine("Foyer", "room://192.0.2.10:1", 60, publicKey(1)) + "\n" + dumpLine("'Hall'", "room://[2001:db8::1]:2", 0, ""))
	f.Add("name,address,registered_at,ttl_seconds,owner,from\n\"'=1,2\",room://a.example:1,2026-01-31T20:15:04Z,5,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ReadDump(strings.NewReader(text))
		if err != nil {
			return
		}
		var printed bytes.Buffer
		out := json.NewEncoder(&printed)
		for i := range d.rows {
			if err := out.Encode(RowOf(&d.rows[i].Registration)); err != nil {
				t.Fatal(err)
			}
		}
		again, err := ReadDump(&printed)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(d.rows, again.rows, func(a, b dumped) bool { return a.Registration == b.Registration }) {
			t.Errorf("%+v was read as %+v", d.rows, again.rows)
		}
	})
}
