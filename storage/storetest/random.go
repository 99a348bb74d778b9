package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"foyer"
	"foyer/internal/testenv"
	"foyer/storage"
)

// A Walk makes random transactions for a store and for a Model alike. Names,
// addresses and ids are drawn from small pools, so that they collide.
type Walk struct {
	rand  *rand.Rand
	holds *rand.Rand
	exits *rand.Rand // nil: no room has any
	names int
	now   storage.Instant
}

// NewWalk returns a Walk through about the given number of names.
func NewWalk(seed uint64, names int) *Walk {
	return &Walk{rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2)), names, storage.Instant{Wall: epoch}}
}

// WithoutExits returns the same walk, except that no room has exits.
func (w *Walk) WithoutExits() *Walk {
	w.exits = nil
	return w
}

// A Step is one transaction: a time, requests to be carried out if they fit,
// and whether the function fails in the end.
type Step struct {
	Now      storage.Instant
	requests []request
	hold     *storage.Hold // to be kept, or taken away
	fails    bool
}

// request is an event to be applied if it fits the registrations, and an id to
// record the answer under.
type request struct {
	event storage.Event
	id    foyer.ID
}

// Next returns the next transaction.
func (w *Walk) Next() Step {
	w.now.Wall = w.now.Wall.Add(time.Duration(w.rand.Int64N(int64(time.Minute))))
	w.now.Lease += time.Duration(w.rand.Int64N(int64(30 * time.Second)))
	s := Step{Now: w.now, fails: w.rand.IntN(20) == 0}
	for range w.rand.IntN(12) {
		s.requests = append(s.requests, w.request())
	}
	if r := w.holds; r.IntN(8) == 0 {
		s.hold = &storage.Hold{Name: foyer.Name(fmt.Sprintf("room %x", r.IntN(w.names)))}
		if r.IntN(3) > 0 {
			s.hold.Since = w.now.Wall.Truncate(time.Millisecond)
			s.hold.Until = s.hold.Since.Add(time.Duration(r.IntN(1e6)) * time.Millisecond)
		}
	}
	return s
}

func (w *Walk) request() request {
	kinds := []storage.Kind{
		storage.Registered, storage.Registered, storage.Registered, storage.Replaced, storage.Extended,
		storage.RenewedLate, storage.Expired, storage.Deregistered, storage.Evicted,
	}
	r := foyer.Registration{
		Name:         w.name(),
		Address:      foyer.Address(fmt.Sprintf("room://10.0.0.1:%d", 1+w.rand.IntN(w.names))),
		RegisteredAt: w.now.Wall.Truncate(time.Millisecond),
		From:         netip.AddrFrom4([4]byte{10, 0, 0, byte(w.rand.IntN(4))}),
	}
	if w.rand.IntN(2) == 0 {
		r.TTL = time.Duration(5+w.rand.IntN(86396)) * time.Second
		r.LeaseEnd = w.now.Lease + r.TTL
	}
	if w.rand.IntN(3) == 0 {
		r.Owner = foyer.Key{byte(1 + w.rand.IntN(5))}
	}
	if w.exits != nil && w.exits.IntN(3) == 0 {
		to := map[foyer.Direction]foyer.Name{}
		for _, d := range foyer.Directions()[:w.exits.IntN(7)] {
			to[d] = foyer.Name(fmt.Sprintf("room %x", w.exits.IntN(w.names)))
		}
		r.Exits, _ = foyer.NewExits(to)
	}
	e := storage.Event{Kind: kinds[w.rand.IntN(len(kinds))], Time: r.RegisteredAt, Registration: r, From: r.From}
	if e.Kind == storage.Evicted || e.Kind == storage.Expired {
		e.From = netip.Addr{}
	}
	// An id comes back within 5 minutes or not at all: how much longer than its
	// retention an outcome is kept is the store's affair.
	window := byte(w.now.Lease / (storage.OutcomeRetention / 2))
	return request{e, foyer.ID{byte(w.rand.IntN(256)), byte(w.rand.IntN(1 + w.names/64)), window}}
}

func (w *Walk) name() foyer.Name {
	return foyer.Name(fmt.Sprintf("room %x", w.rand.IntN(w.names)))
}

// Carry carries out the step on a store and returns what the store answered to
// each request, and the error of Update.
func (s Step) Carry(store storage.Store) (answers []string, err error) {
	err = store.Update(s.Now, func(tx storage.Tx) error {
		answers = answers[:0] // the function may be run again
		for _, r := range s.requests {
			answer, err := r.carry(tx)
			if err != nil {
				return err
			}
			answers = append(answers, answer)
		}
		if s.hold != nil {
			before, held := tx.Held(s.hold.Name)
			if err := tx.Hold(*s.hold); err != nil {
				return err
			}
			answers = append(answers, fmt.Sprintf("%v %+v", held, before))
		}
		if s.fails {
			return errGivenUp
		}
		return nil
	})
	return answers, err
}

var errGivenUp = errors.New("the step was to fail")

// carry does what a service does: it answers a retry from the record, and
// otherwise applies the event if it fits, and records the answer.
func (r request) carry(tx storage.Tx) (string, error) {
	o, ok, err := tx.Outcome(r.id)
	if err != nil {
		return "", err
	}
	if ok {
		return string(o.Reply), nil
	}
	e := r.event
	current, err := tx.Get(e.Registration.Name)
	if err != nil && !errors.Is(err, foyer.ErrUnknownName) {
		return "", err
	}
	registered := err == nil
	holder, err := tx.NameAt(e.Registration.Address)
	if err != nil && !errors.Is(err, foyer.ErrUnknownName) {
		return "", err
	}
	answer := fmt.Sprintf("%s %+v", e.Kind, e.Registration)
	switch {
	case registered == (e.Kind == storage.Registered):
		answer = fmt.Sprintf("name: %v %+v", registered, current)
	case e.Kind <= storage.Extended && holder != "" && holder != e.Registration.Name:
		answer = "address of " + string(holder)
	default:
		if e.Kind.Ends() {
			e.Registration = current
		}
		if err := tx.Apply(e); err != nil {
			return "", err
		}
	}
	return answer, tx.Record(storage.Outcome{ID: r.id, Fingerprint: [16]byte(r.id), Reply: []byte(answer)})
}

// Compare returns an error that says where the two stores differ, or nil. It
// looks at everything: the list, each registration, each history, the holds, the counts.
func (w *Walk) Compare(got, want storage.Store) error {
	if got.Last() != want.Last() {
		return fmt.Errorf("what Last() returns is %v, want %v", got.Last(), want.Last())
	}
	if got.Len() != want.Len() {
		return fmt.Errorf("what Len() returns is %d, want %d", got.Len(), want.Len())
	}
	wantList, err := want.List("", want.Len()+1)
	if err != nil {
		return err
	}
	var gotList []foyer.Registration
	for after, limit := foyer.Name(""), 1; ; limit = limit*3 + 1 {
		page, err := got.List(after, limit)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		gotList = append(gotList, page...)
		after = page[len(page)-1].Name
	}
	if !slices.Equal(gotList, wantList) {
		return fmt.Errorf("the lists differ:\n got %+v\nwant %+v", gotList, wantList)
	}
	gotHolds, err := got.Holds()
	if err != nil {
		return err
	}
	if wantHolds, _ := want.Holds(); !slices.Equal(gotHolds, wantHolds) {
		return fmt.Errorf("the holds differ:\n got %+v\nwant %+v", gotHolds, wantHolds)
	}
	queries := make([]storage.Query, w.names)
	for i := range queries {
		queries[i].Name = fmt.Appendf(nil, "room %x", i)
	}
	got.FindAll(queries)
	for _, q := range queries {
		name := foyer.Name(q.Name)
		g, gerr := got.Find([]byte(name))
		m, merr := want.Find([]byte(name))
		if g != m || !errors.Is(gerr, merr) {
			return fmt.Errorf("what Find(%q) returns is %+v, %v; want %+v, %v", name, g, gerr, m, merr)
		}
		if q.Registration != m || !errors.Is(q.Err, merr) {
			return fmt.Errorf("what FindAll says of %q is %+v, %v; want %+v, %v", name, q.Registration, q.Err, m, merr)
		}
		gh, err := got.History(name)
		if err != nil {
			return err
		}
		if mh, _ := want.History(name); !slices.Equal(gh, mh) {
			return fmt.Errorf("what History(%q) returns:\n got %+v\nwant %+v", name, gh, mh)
		}
	}
	return nil
}

func testRandom(t *testing.T, p *place, names int) {
	walk, model := NewWalk(testenv.Seed(t), names), NewModel(Sabotage{})
	for i := range 400 {
		step := walk.Next()
		got, gerr := step.Carry(p)
		want, werr := step.Carry(model)
		if !slices.Equal(got, want) || !errors.Is(gerr, werr) {
			t.Fatalf("step %d:\n got %q, %v\nwant %q, %v", i, got, gerr, want, werr)
		}
		if i%50 == 49 {
			p.reopen()
		}
		if i%10 == 9 {
			if err := walk.Compare(p, model); err != nil {
				t.Fatalf("after step %d: %v", i, err)
			}
		}
	}
}
