package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"foyer"
	"foyer/storage"
)

// Test holds a Store to its contract. For each of its subtests it calls setup,
// which makes a new place for a store (a folder, a prefix) and returns a
// function that opens the store there. That function is called again only after
// the store that it returned before was closed, and finds what that one left.
func Test(t *testing.T, setup func(t *testing.T) (open func() storage.Store)) {
	for _, property := range []struct {
		name string
		test func(*testing.T, *place)
	}{
		{"ANewStoreIsEmpty", testEmpty},
		{"ARegistrationIsKeptInFull", testRegistration},
		{"FindDoesNotKeepItsArgument", testFindArgument},
		{"FindDoesNotAllocate", testFindAllocations},
		{"FindDoesNotWaitForUpdate", testFindDuringUpdate},
		{"FindRunsBesideUpdate", testFindConcurrent},
		{"FindAllIsFindForEachInOrder", testFindAll},
		{"ATransactionSeesItsOwnChanges", testOwnChanges},
		{"AnErrorOfTheFunctionChangesNothing", testFunctionError},
		{"AnEventMustFit", testMisfit},
		{"AnotherAddressFreesTheFormer", testReplaced},
		{"AnEndFreesNameAndAddress", testEnds},
		{"AnExtensionIsNotRemembered", testExtended},
		{"ALateRenewalIsOnlyRemembered", testRenewedLate},
		{"ExitsAreOfTheRegistrationOnly", testExits},
		{"AnOutcomeIsKeptInFull", testOutcome},
		{"AnOutcomeIsRecordedOnce", testOutcomeTwice},
		{"OutcomesAgeByTheLeaseClock", testOutcomeAge},
		{"OutcomesAreCounted", testOutcomeCount},
		{"ListPagesInOrder", testList},
		{"HistoryIsNewestFirstAndBounded", testHistory},
		{"HistoryOfEndedNamesIsBounded", testHistoryNames},
		{"AHoldIsKeptUntilItIsTakenAway", testHold},
		{"HoldsAreBounded", testHoldsBounded},
		{"TheLastInstantIsKept", testLast},
		{"AnUpdateMayBeLarge", testLargeUpdate},
		{"RandomOperationsOnFewNames", func(t *testing.T, p *place) { testRandom(t, p, 5) }},
		{"RandomOperationsOnManyNames", func(t *testing.T, p *place) { testRandom(t, p, 300) }},
	} {
		t.Run(property.name, func(t *testing.T) {
			p := &place{t: t, open: setup(t)}
			p.Store = p.open()
			t.Cleanup(func() { p.Close() })
			property.test(t, p)
		})
	}
}

// A place is a store under test and the way to open it again.
type place struct {
	storage.Store
	t     *testing.T
	open  func() storage.Store
	clock storage.Instant
}

func (p *place) reopen() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatalf("Close: %v", err)
	}
	p.Store = p.open()
}

// now returns an Instant a second after the one before.
func (p *place) now() storage.Instant {
	if p.clock.Wall.IsZero() {
		p.clock.Wall = epoch
	}
	p.clock.Wall = p.clock.Wall.Add(time.Second)
	p.clock.Lease += time.Second
	return p.clock
}

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)

func (p *place) update(fn func(storage.Tx) error) {
	p.t.Helper()
	if err := p.Update(p.now(), fn); err != nil {
		p.t.Fatalf("Update: %v", err)
	}
}

// apply applies the events in one transaction.
func (p *place) apply(events ...storage.Event) {
	p.t.Helper()
	p.update(func(tx storage.Tx) error { return applyAll(tx, events) })
}

func applyAll(tx storage.Tx, events []storage.Event) error {
	for _, e := range events {
		if err := tx.Apply(e); err != nil {
			return err
		}
	}
	return nil
}

// wantFound fails the test unless exactly r is registered under its name.
func (p *place) wantFound(r foyer.Registration) {
	p.t.Helper()
	got, err := p.Find([]byte(r.Name))
	if err != nil || got != r {
		p.t.Errorf("Find(%q) = %+v, %v; want %+v", r.Name, got, err, r)
	}
}

func (p *place) wantUnknown(name foyer.Name) {
	p.t.Helper()
	if got, err := p.Find([]byte(name)); !errors.Is(err, foyer.ErrUnknownName) || got != (foyer.Registration{}) {
		p.t.Errorf("Find(%q) = %+v, %v; want foyer.ErrUnknownName", name, got, err)
	}
}

func (p *place) wantHistory(name foyer.Name, newestFirst ...storage.Event) {
	p.t.Helper()
	got, err := p.History(name)
	if err != nil || !slices.Equal(got, newestFirst) {
		p.t.Errorf("History(%q), %v:\n got %+v\nwant %+v", name, err, got, newestFirst)
	}
}

// plain returns the registration of a room without lease or owner.
func plain(name foyer.Name, port int) foyer.Registration {
	return foyer.Registration{
		Name:         name,
		Address:      foyer.Address(fmt.Sprintf("room://10.0.0.1:%d", port)),
		RegisteredAt: epoch,
		From:         netip.AddrFrom4([4]byte{10, 0, 0, 1}),
	}
}

const mostExits = foyer.MaxExits * 3 / 4 // bytes of text, which in a tag take a third more

func withExits(r foyer.Registration, e string) foyer.Registration {
	r.Exits = foyer.Exits(e)
	return r
}

func event(k storage.Kind, r foyer.Registration) storage.Event {
	return storage.Event{Kind: k, Time: epoch.Add(time.Duration(k) * time.Minute), Registration: r, From: r.From}
}

func testEmpty(t *testing.T, p *place) {
	check := func() {
		t.Helper()
		p.wantUnknown("Foyer")
		if n := p.Len(); n != 0 {
			t.Errorf("Len() = %d, want 0", n)
		}
		if list, err := p.List("", 10); len(list) != 0 || err != nil {
			t.Errorf("List = %v, %v", list, err)
		}
		if last := p.Last(); last != (storage.Instant{}) {
			t.Errorf("Last() = %v, want the zero Instant", last)
		}
		p.wantHistory("Foyer")
	}
	check()
	p.reopen()
	check()
}

func testRegistration(t *testing.T, p *place) {
	all := []foyer.Registration{
		{Name: "bare", Address: "room://h:1"},
		{
			Name: "Great Hall", Address: "room://[2001:db8::1]:65535",
			RegisteredAt: epoch.Add(7 * time.Millisecond), TTL: 24 * time.Hour, LeaseEnd: 5*365*24*time.Hour + 1,
			Owner: foyer.Key{1, 31: 9}, From: netip.MustParseAddr("2001:db8::2"),
		},
		{
			Name: foyer.Name(bytes.Repeat([]byte("é"), 127)), Address: foyer.Address("room://" + string(bytes.Repeat([]byte("x"), 55)) + ":1"),
			RegisteredAt: time.UnixMilli(1).UTC(), TTL: 5 * time.Second, LeaseEnd: 1, From: netip.MustParseAddr("255.255.255.255"),
		},
		{Name: "before 1970", Address: "room://h:2", RegisteredAt: time.UnixMilli(-86400001).UTC(), TTL: time.Second, LeaseEnd: -1, Owner: foyer.Key{0, 1}},
	}
	for _, r := range all {
		p.apply(event(storage.Registered, r))
	}
	check := func() {
		t.Helper()
		for _, r := range all {
			p.wantFound(r)
			p.wantHistory(r.Name, event(storage.Registered, r))
		}
		if n := p.Len(); n != len(all) {
			t.Errorf("Len() = %d, want %d", n, len(all))
		}
	}
	check()
	p.reopen()
	check()
}

func testOwnChanges(t *testing.T, p *place) {
	r := plain("Foyer", 1)
	id := foyer.ID{1}
	p.update(func(tx storage.Tx) error {
		if _, err := tx.Get("Foyer"); !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("Get before: %v", err)
		}
		if err := tx.Apply(event(storage.Registered, r)); err != nil {
			return err
		}
		if got, err := tx.Get("Foyer"); err != nil || got != r {
			t.Errorf("Get = %v, %v", got, err)
		}
		if name, err := tx.NameAt(r.Address); err != nil || name != "Foyer" {
			t.Errorf("NameAt = %q, %v", name, err)
		}
		if err := tx.Apply(event(storage.Deregistered, r)); err != nil {
			return err
		}
		if _, err := tx.Get("Foyer"); !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("Get of an ended name: %v", err)
		}
		if _, err := tx.NameAt(r.Address); !errors.Is(err, foyer.ErrUnknownName) {
			t.Errorf("NameAt of a free address: %v", err)
		}
		if err := tx.Apply(event(storage.Registered, plain("Attic", 1))); err != nil {
			return err
		}
		if err := tx.Record(storage.Outcome{ID: id, Reply: []byte("OK")}); err != nil {
			return err
		}
		if o, ok, err := tx.Outcome(id); !ok || err != nil || string(o.Reply) != "OK" {
			t.Errorf("Outcome = %+v, %v, %v", o, ok, err)
		}
		return nil
	})
	p.wantUnknown("Foyer")
	p.wantFound(plain("Attic", 1))
	p.wantHistory("Foyer", event(storage.Deregistered, r), event(storage.Registered, r))
}

func testFunctionError(t *testing.T, p *place) {
	r := plain("Foyer", 1)
	p.apply(event(storage.Registered, r))
	last, failure := p.Last(), errors.New("a failure of the function")
	err := p.Update(p.now(), func(tx storage.Tx) error {
		tx.Apply(event(storage.Deregistered, r))
		tx.Apply(event(storage.Registered, plain("Attic", 1)))
		tx.Record(storage.Outcome{ID: foyer.ID{1}})
		return failure
	})
	if err != failure {
		t.Errorf("Update = %v, want the function's error itself", err)
	}
	check := func() {
		t.Helper()
		p.wantFound(r)
		p.wantUnknown("Attic")
		p.wantHistory("Foyer", event(storage.Registered, r))
		p.wantHistory("Attic")
		if p.Len() != 1 || p.Last() != last {
			t.Errorf("Len() = %d, Last() = %v; want 1, %v", p.Len(), p.Last(), last)
		}
	}
	check()
	p.reopen()
	check()
	p.update(func(tx storage.Tx) error {
		if _, ok, _ := tx.Outcome(foyer.ID{1}); ok {
			t.Error("the outcome was recorded")
		}
		if name, err := tx.NameAt(r.Address); err != nil || name != "Foyer" {
			t.Errorf("NameAt = %q, %v", name, err)
		}
		return nil
	})
}

func testMisfit(t *testing.T, p *place) {
	lobby, attic := plain("Foyer", 1), plain("Attic", 2)
	p.apply(event(storage.Registered, lobby), event(storage.Registered, attic))
	for _, bad := range []struct {
		why string
		e   storage.Event
	}{
		{"the name is taken", event(storage.Registered, plain("Foyer", 3))},
		{"the address is taken", event(storage.Registered, plain("Cellar", 1))},
		{"the address is another's", event(storage.Replaced, plain("Foyer", 2))},
		{"the address is another's", event(storage.Extended, plain("Foyer", 2))},
		{"nothing to replace", event(storage.Replaced, plain("Cellar", 3))},
		{"nothing to extend", event(storage.Extended, plain("Cellar", 3))},
		{"nothing to renew", event(storage.RenewedLate, plain("Cellar", 3))},
		{"nothing to expire", event(storage.Expired, plain("Cellar", 3))},
		{"nothing to deregister", event(storage.Deregistered, plain("Cellar", 3))},
		{"nothing to evict", event(storage.Evicted, plain("Cellar", 3))},
		{"no name", event(storage.Registered, plain("", 3))},
		{"no address", event(storage.Registered, foyer.Registration{Name: "Cellar"})},
		{"too long exits", event(storage.Registered, withExits(plain("Cellar", 3), strings.Repeat("x", mostExits+1)))},
		{"no such kind", event(0, lobby)},
		{"no such kind", event(99, lobby)},
	} {
		err := p.Update(p.now(), func(tx storage.Tx) error {
			if err := tx.Apply(event(storage.Registered, plain("Pantry", 9))); err != nil {
				return err
			}
			return tx.Apply(bad.e)
		})
		if !errors.Is(err, storage.ErrMisfit) {
			t.Errorf("%s: %v, want storage.ErrMisfit", bad.why, err)
		}
		p.wantUnknown("Pantry")
		p.wantUnknown("Cellar")
		p.wantFound(lobby)
		p.wantFound(attic)
	}
}

func testReplaced(t *testing.T, p *place) {
	first, second := plain("Foyer", 1), plain("Foyer", 2)
	second.Owner, second.TTL, second.LeaseEnd = foyer.Key{5}, 30*time.Second, time.Hour
	second.RegisteredAt = epoch.Add(time.Hour)
	p.apply(event(storage.Registered, first))
	p.apply(event(storage.Replaced, second))
	p.wantFound(second)
	p.apply(event(storage.Registered, plain("Attic", 1)))
	p.apply(event(storage.Replaced, second)) // its own address is no obstacle
	p.reopen()
	p.wantFound(second)
	p.wantFound(plain("Attic", 1))
	p.wantHistory("Foyer", event(storage.Replaced, second), event(storage.Replaced, second), event(storage.Registered, first))

	// Two names change places by way of a third address, in one transaction.
	p.apply(event(storage.Replaced, plain("Foyer", 3)), event(storage.Replaced, plain("Attic", 2)), event(storage.Replaced, plain("Foyer", 1)))
	p.reopen()
	p.wantFound(plain("Foyer", 1))
	p.wantFound(plain("Attic", 2))
	p.update(func(tx storage.Tx) error {
		for port, want := range map[int]foyer.Name{1: "Foyer", 2: "Attic", 3: ""} {
			if name, _ := tx.NameAt(plain("", port).Address); name != want {
				t.Errorf("NameAt(port %d) = %q, want %q", port, name, want)
			}
		}
		return nil
	})
}

func testEnds(t *testing.T, p *place) {
	for i, kind := range []storage.Kind{storage.Expired, storage.Deregistered, storage.Evicted} {
		r := plain(foyer.Name(kind.String()), i+1)
		ending := event(kind, r)
		ending.From = netip.Addr{}
		p.apply(event(storage.Registered, r))
		p.apply(ending)
		p.wantUnknown(r.Name)
		p.wantHistory(r.Name, ending, event(storage.Registered, r))
		p.reopen()
		p.wantUnknown(r.Name)
		p.wantHistory(r.Name, ending, event(storage.Registered, r))

		next := plain(r.Name+" again", i+1)
		p.apply(event(storage.Registered, next), event(storage.Registered, plain(r.Name, 100+i)))
		p.wantFound(next)
		p.wantHistory(r.Name, event(storage.Registered, plain(r.Name, 100+i)), ending, event(storage.Registered, r))
	}
}

func testExtended(t *testing.T, p *place) {
	r := plain("Foyer", 1)
	r.TTL, r.LeaseEnd = 10*time.Minute, time.Hour
	longer := r
	longer.LeaseEnd = 2 * time.Hour
	p.apply(event(storage.Registered, r))
	p.apply(event(storage.Extended, longer))
	p.wantFound(longer)
	p.wantHistory("Foyer", event(storage.Registered, r))
	p.reopen()
	p.wantFound(longer)
	p.wantHistory("Foyer", event(storage.Registered, r))
}

func testRenewedLate(t *testing.T, p *place) {
	r := plain("Foyer", 1)
	late := event(storage.RenewedLate, r)
	late.Registration.LeaseEnd = time.Hour
	p.apply(event(storage.Registered, r))
	p.apply(late)
	p.wantFound(r)
	p.wantHistory("Foyer", late, event(storage.Registered, r))
	p.reopen()
	p.wantFound(r)
	p.wantHistory("Foyer", late, event(storage.Registered, r))
}

func testExits(t *testing.T, p *place) {
	bare, many := plain("Foyer", 1), withExits(plain("Foyer", 1), "n:Study\nd:"+strings.Repeat("x", mostExits-len("n:Study\nd:")))
	few := withExits(bare, "s:Hall")
	few.TTL, few.LeaseEnd, few.Owner = 10*time.Minute, time.Hour, foyer.Key{5}
	longer := few
	longer.LeaseEnd *= 2
	history := []storage.Event{} // without exits
	for _, c := range []struct {
		kind storage.Kind
		r    foyer.Registration
		want foyer.Registration // what is found then
	}{
		{storage.Registered, many, many},
		{storage.RenewedLate, bare, many},
		{storage.Replaced, few, few},
		{storage.Extended, longer, longer},
		{storage.Replaced, bare, bare},
		{storage.Replaced, many, many},
		{storage.Expired, many, foyer.Registration{}},
		{storage.Registered, bare, bare},
	} {
		e := event(c.kind, c.r)
		p.apply(e)
		if e.Kind.Remembered() {
			e.Registration.Exits = ""
			history = slices.Insert(history, 0, e)
		}
		for range 2 {
			if c.want.Name == "" {
				p.wantUnknown("Foyer")
			} else {
				p.wantFound(c.want)
				p.update(func(tx storage.Tx) error {
					if got, err := tx.Get("Foyer"); got != c.want || err != nil {
						t.Errorf("Get: %+v, %v, want %+v", got, err, c.want)
					}
					return nil
				})
				if list, err := p.List("", 2); len(list) != 1 || list[0] != c.want || err != nil {
					t.Errorf("List: %+v, %v, want %+v", list, err, c.want)
				}
			}
			p.wantHistory("Foyer", history...)
			p.reopen()
		}
	}
	// A hold on the name does not touch them.
	p.apply(event(storage.Replaced, many))
	hold := storage.Hold{Name: "Foyer", Since: epoch, Until: epoch.Add(time.Hour)}
	p.update(func(tx storage.Tx) error { return tx.Hold(hold) })
	p.reopen()
	p.wantFound(many)
	p.update(func(tx storage.Tx) error {
		if h, held := tx.Held("Foyer"); !held || h != hold {
			t.Errorf("Held: %+v, %v, want %+v", h, held, hold)
		}
		return nil
	})
}
