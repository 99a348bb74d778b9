package storetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// wantOutcome fails the test unless o is recorded.
func wantOutcome(t *testing.T, tx storage.Tx, o storage.Outcome) {
	t.Helper()
	got, ok, err := tx.Outcome(o.ID)
	if err != nil || !ok || got.ID != o.ID || got.Fingerprint != o.Fingerprint || !bytes.Equal(got.Reply, o.Reply) {
		t.Errorf("Outcome(%x) = %+v, %v, %v; want %+v", o.ID, got, ok, err, o)
	}
}

func testOutcome(t *testing.T, p *place) {
	all := []storage.Outcome{
		{ID: foyer.ID{}},
		{ID: foyer.ID{1}, Fingerprint: [16]byte{2, 15: 3}, Reply: []byte("OK")},
		{ID: foyer.ID{15: 1}, Reply: []byte("\x00\xff\n;@=")},
		{ID: foyer.ID{0xff, 15: 0xff}, Reply: bytes.Repeat([]byte("long "), 1000)},
	}
	for i := range 200 {
		var id foyer.ID
		binary.BigEndian.PutUint64(id[8:], uint64(i+1)<<32)
		all = append(all, storage.Outcome{ID: id, Fingerprint: [16]byte{byte(i)}, Reply: fmt.Appendf(nil, "reply %d", i)})
	}
	p.update(func(tx storage.Tx) error {
		for _, o := range all {
			o.Reply = bytes.Clone(o.Reply)
			if err := tx.Record(o); err != nil {
				return err
			}
			clear(o.Reply) // Record has copied it
		}
		return nil
	})
	check := func() {
		t.Helper()
		for _, o := range all {
			if !p.Recorded(o.ID) {
				t.Errorf("Recorded(%x) is false", o.ID)
			}
		}
		if p.Recorded(foyer.ID{7, 1}) {
			t.Error("an id that nobody recorded is recorded")
		}
		p.update(func(tx storage.Tx) error {
			for _, o := range all {
				wantOutcome(t, tx, o)
			}
			for i := range 100 {
				if o, ok, err := tx.Outcome(foyer.ID{7, byte(i)}); ok || err != nil {
					t.Errorf("an outcome that nobody recorded: %+v, %v", o, err)
				}
			}
			return nil
		})
	}
	check()
	p.reopen()
	check()
}

func testOutcomeTwice(t *testing.T, p *place) {
	first, second := storage.Outcome{ID: foyer.ID{1}, Reply: []byte("first")}, storage.Outcome{ID: foyer.ID{1}, Reply: []byte("second")}
	p.update(func(tx storage.Tx) error { return tx.Record(first) })
	for range 2 {
		if err := p.Update(p.now(), func(tx storage.Tx) error { return tx.Record(second) }); err == nil {
			t.Error("an id was recorded twice")
		}
		p.update(func(tx storage.Tx) error { wantOutcome(t, tx, first); return nil })
		p.reopen()
	}
}

func testOutcomeAge(t *testing.T, p *place) {
	o := storage.Outcome{ID: foyer.ID{1}, Reply: []byte("first")}
	start := p.now()
	at := func(wall, lease time.Duration, fn func(storage.Tx) error) {
		t.Helper()
		if err := p.Update(storage.Instant{Wall: start.Wall.Add(wall), Lease: start.Lease + lease}, fn); err != nil {
			t.Fatalf("Update: %v", err)
		}
	}
	found := func(tx storage.Tx) error { wantOutcome(t, tx, o); return nil }

	at(0, 0, func(tx storage.Tx) error { return tx.Record(o) })
	at(48*time.Hour, time.Second, found) // the registry was down for two days
	p.reopen()
	at(72*time.Hour, storage.OutcomeRetention, found)
	p.reopen()
	at(72*time.Hour, storage.OutcomeRetention, found)

	// Whether it is still there long after is the store's affair, but then it
	// must not be in the way, nor mistaken for a new one of the same id.
	next := storage.Outcome{ID: foyer.ID{1}, Reply: []byte("second")}
	at(73*time.Hour, 3*storage.OutcomeRetention, func(tx storage.Tx) error {
		old, ok, err := tx.Outcome(o.ID)
		if err != nil {
			return err
		}
		if ok {
			next = old
			return nil
		}
		return tx.Record(next)
	})
	for range 2 {
		at(73*time.Hour, 3*storage.OutcomeRetention+time.Second, func(tx storage.Tx) error { wantOutcome(t, tx, next); return nil })
		p.reopen()
	}
}

// The number of outcomes bounds them: it says no less than what is kept, also
// before the commit, and falls when they have outlived their retention.
func testOutcomeCount(t *testing.T, p *place) {
	start, next := p.now(), byte(0)
	// update records n outcomes at a time of the lease clock, from which on want
	// are counted in all.
	update := func(lease time.Duration, n, want int) {
		t.Helper()
		err := p.Update(storage.Instant{Wall: start.Wall, Lease: start.Lease + lease}, func(tx storage.Tx) error {
			for i := range n {
				if got := tx.Outcomes(); got != want-n+i {
					t.Errorf("Outcomes() = %d, want %d", got, want-n+i)
				}
				next++
				if err := tx.Record(storage.Outcome{ID: foyer.ID{next}}); err != nil {
					return err
				}
			}
			if got := tx.Outcomes(); got != want {
				t.Errorf("Outcomes() = %d, want %d", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	update(0, 0, 0)
	update(0, 3, 3)
	_ = p.Update(p.now(), func(tx storage.Tx) error {
		if err := tx.Record(storage.Outcome{ID: foyer.ID{200}}); err != nil {
			return err
		}
		return errGivenUp
	})
	update(time.Minute, 2, 5)
	p.reopen()
	update(time.Minute, 0, 5)
	update(storage.OutcomeRetention, 0, 5)
	update(storage.OutcomeRetention+time.Second, 0, 5) // this one lets go of three
	update(storage.OutcomeRetention+time.Second, 1, 3)
	p.reopen()
	update(2*storage.OutcomeRetention, 0, 3)
	update(2*storage.OutcomeRetention, 0, 1)
}

func testList(t *testing.T, p *place) {
	names := []foyer.Name{"!", "A", "AA", "B", "a", "b", "b ", "é", "日本"} // in the order of their bytes
	for i := range names {
		i = i * 4 % len(names) // in another order
		p.apply(event(storage.Registered, plain(names[i], i+1)))
	}
	p.apply(event(storage.Registered, plain("AB", 99)))
	p.apply(event(storage.Evicted, plain("AB", 99)))

	check := func(after foyer.Name, limit int, want []foyer.Name) {
		t.Helper()
		got, err := p.List(after, limit)
		if err != nil || len(got) != len(want) {
			t.Errorf("List(%q, %d) = %d registrations, %v; want %q", after, limit, len(got), err, want)
			return
		}
		for i, r := range got {
			found, err := p.Find([]byte(want[i]))
			if err != nil || r != found {
				t.Errorf("List(%q, %d)[%d] = %+v; Find = %+v, %v", after, limit, i, r, found, err)
			}
		}
	}
	for range 2 {
		for i, name := range names {
			for limit := range len(names) + 2 {
				check(name, limit, names[i+1:min(len(names), i+1+limit)])
			}
		}
		check("", 100, names)
		check("", 0, nil)
		check("AB", 2, names[3:5])
		check("zzz", 2, names[7:])
		check("\xff", 2, nil)
		p.reopen()
	}
}

func testHistory(t *testing.T, p *place) {
	var newestFirst []storage.Event
	for i := range 3 * storage.HistoryPerName {
		kind := storage.Replaced
		switch {
		case i == 0 || i == 21:
			kind = storage.Registered
		case i == 20:
			kind = storage.Expired
		case i%5 == 3:
			kind = storage.RenewedLate
		}
		r := plain("Foyer", i+1)
		if kind == storage.Expired {
			r = plain("Foyer", i)
		}
		e := event(kind, r)
		e.Time = epoch.Add(time.Duration(i) * time.Millisecond)
		e.From = plain("", 1).From
		p.apply(e)
		newestFirst = append([]storage.Event{e}, newestFirst...)
		newestFirst = newestFirst[:min(len(newestFirst), storage.HistoryPerName)]
		p.wantHistory("Foyer", newestFirst...)
		if i%4 == 3 {
			p.reopen()
			p.wantHistory("Foyer", newestFirst...)
		}
	}
	p.wantHistory("Attic")

	// A history as long in one transaction.
	var burst []storage.Event
	for i := range storage.HistoryPerName + 3 {
		burst = append(burst, event(storage.Replaced, plain("Foyer", 500+i)))
	}
	p.apply(burst...)
	newestFirst = nil
	for i := range storage.HistoryPerName {
		newestFirst = append(newestFirst, burst[len(burst)-1-i])
	}
	p.wantHistory("Foyer", newestFirst...)
	p.reopen()
	p.wantHistory("Foyer", newestFirst...)
}

func testHistoryNames(t *testing.T, p *place) {
	const extra, step = 100, 4096
	// Room 0 has an address of its own, the others have one after the other the same.
	nth := func(i int) foyer.Registration { return plain(foyer.Name(fmt.Sprintf("room %d", i)), min(i, 1)+10) }
	end := func(from, to int) {
		t.Helper()
		for ; from < to; from += step {
			p.update(func(tx storage.Tx) error {
				for i := from; i < min(to, from+step); i++ {
					if err := applyAll(tx, []storage.Event{event(storage.Registered, nth(i)), event(storage.Evicted, nth(i))}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	length := func(i, want int) {
		t.Helper()
		if h, err := p.History(nth(i).Name); len(h) != want || err != nil {
			t.Errorf("room %d has %d events, %v; want %d", i, len(h), err, want)
		}
	}

	p.apply(event(storage.Registered, plain("Foyer", 2))) // registered throughout: not counted
	end(0, 1)
	p.apply(event(storage.Registered, nth(0)))
	p.apply(event(storage.Expired, nth(0)))
	end(1, storage.HistoryNames)
	length(0, 4)
	length(1, 2)
	p.apply(event(storage.Registered, nth(0))) // it leaves the ended ones,
	end(storage.HistoryNames, storage.HistoryNames+1)
	length(1, 2)
	p.apply(event(storage.Expired, nth(0))) // and comes back as the newest
	length(1, 0)
	length(2, 2)
	p.reopen()
	length(1, 0)
	length(2, 2)
	end(storage.HistoryNames+1, storage.HistoryNames+1+extra)
	for range 2 {
		length(0, 6)
		length(extra+1, 0)
		length(extra+2, 2)
		p.wantHistory("Foyer", event(storage.Registered, plain("Foyer", 2)))
		p.reopen()
	}

	// What was forgotten does not come back with the name.
	p.apply(event(storage.Registered, nth(5)))
	length(5, 1)
	p.reopen()
	length(5, 1)
}

func testLast(t *testing.T, p *place) {
	now := storage.Instant{Wall: epoch.Add(12345), Lease: 54321}
	if err := p.Update(now, func(storage.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if got := p.Last(); got != now {
		t.Errorf("Last() = %v, want %v", got, now)
	}
	p.reopen()
	if got := p.Last(); got != now {
		t.Errorf("Last() after reopening = %v, want %v", got, now)
	}
}

func testLargeUpdate(t *testing.T, p *place) {
	const n = 10_000
	r := func(i int) foyer.Registration {
		return foyer.Registration{Name: foyer.Name(fmt.Sprintf("%0200d", i)), Address: foyer.Address(fmt.Sprintf("room://h:%d", i+1))}
	}
	p.update(func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Apply(event(storage.Registered, r(i))); err != nil {
				return err
			}
		}
		return nil
	})
	p.reopen()
	if p.Len() != n {
		t.Errorf("Len() = %d, want %d", p.Len(), n)
	}
	p.wantFound(r(0))
	p.wantFound(r(n - 1))
	p.update(func(tx storage.Tx) error {
		for i := range n {
			if err := tx.Apply(event(storage.Evicted, r(i))); err != nil {
				return err
			}
		}
		return nil
	})
	if list, err := p.List("", 1); len(list) != 0 || err != nil {
		t.Errorf("List = %v, %v; want nothing", list, err)
	}
}
