// Package storage is the contract between the registry's service and the
// place where it keeps what must survive: the registrations by name, the index
// of their addresses, the outcomes of requests by id, a bounded history of each
// name, and the names that the operator holds back.
//
// A [Store] changes in transactions. Everything that happens to a name is an
// [Event], and applying an event within [Store.Update] is the only way to change
// a registration: state and history cannot disagree. storage/engine implements it
// on any log; storage/bolt is that log in one file, and what a registry opens.
// storage/storetest is the suite that every implementation passes, and a model of
// one in memory.
package storage

import (
	"net/netip"
	"time"

	"foyer"
)

// An Instant is the time at which a transaction happens, read from two clocks
// of the service. Neither ever runs backwards, across restarts included.
type Instant struct {
	// Wall is the registry's time, in UTC: the time that people are told and
	// that the ids of requests are held against.
	Wall time.Time

	// Lease is how long the registry has run in all, over all its processes.
	// Leases and the keeping of outcomes are measured by it, so that time in
	// which the registry was down or stalled does not count.
	Lease time.Duration
}

// A Kind says what happened to a name.
type Kind uint8

// The kinds. They are written to databases: a number is never given a second
// meaning.
const (
	Registered   Kind = 1 // the name was free and now has an address
	Replaced     Kind = 2 // its owner gave it another address, or registered it anew
	Extended     Kind = 3 // the written lease changed: another ttl, or a checkpoint of its end
	RenewedLate  Kind = 4 // a renewal came with less than a third of the lease left
	Expired      Kind = 5 // its lease ran out
	Deregistered Kind = 6 // its room, or somebody at the same IP address, ended it
	Evicted      Kind = 7 // the operator ended it
)

// String returns the kind in lower case, as `registry explain` prints it.
func (k Kind) String() string {
	switch k {
	case Registered:
		return "registered"
	case Replaced:
		return "replaced"
	case Extended:
		return "extended"
	case RenewedLate:
		return "renewed late"
	case Expired:
		return "expired"
	case Deregistered:
		return "deregistered"
	case Evicted:
		return "evicted"
	}
	return "unknown"
}

// Ends reports whether an event of the kind ends the registration.
func (k Kind) Ends() bool { return k >= Expired && k <= Evicted }

// Remembered reports whether an event of the kind is kept in the name's
// history. A checkpoint is of no interest to people.
func (k Kind) Remembered() bool { return k != Extended }

// An Event is one thing that happened to one name. Registered, Replaced and
// Extended give the name the whole Registration that they bear; a kind that
// ends the registration bears it as it was last; RenewedLate changes nothing
// but the history.
type Event struct {
	Kind Kind
	Time time.Time // in UTC and whole milliseconds

	// Registration is the name's registration after the event, or for a kind
	// that ends it, before.
	Registration foyer.Registration

	// From is the IP address whose request caused the event, unmapped; the zero
	// Addr for what the registry or its operator did.
	From netip.Addr
}

// An Outcome is the answer that a request got, kept under the request's id so
// that every retry gets it again.
type Outcome struct {
	ID          foyer.ID
	Fingerprint [16]byte // of the request's line: another line under the same id is refused
	Reply       []byte   // the reply's line, byte for byte
}

// A Hold keeps a name from being registered for a while: the operator has
// withdrawn it. The store only remembers it: a name that is held can be registered, as
// far as the store is concerned.
type Hold struct {
	Name  foyer.Name // canonical
	Since time.Time  // in UTC and whole milliseconds, like Until
	Until time.Time  // when the hold is over, by the registry's wall clock
}

// What a Store keeps, and for how long.
const (
	// OutcomeRetention is how long an outcome can be found, at least, by the
	// lease clock. After 5 minutes discovery refuses an id that is not recorded, so
	// a retry that comes after the outcome is gone changes nothing.
	OutcomeRetention = 10 * time.Minute

	// MaxOutcomes is the most outcomes that a Store can be asked to keep at a
	// time: more than 50,000 requests a second, for as long as they are kept.
	MaxOutcomes = 32 << 20

	// HistoryPerName is the most events kept of one name; older ones give way.
	HistoryPerName = 16

	// HistoryNames is the most names that are not registered any more of which
	// the history is kept; those that ended longest ago give way.
	HistoryNames = 1 << 16

	// MaxHolds is the most holds that are kept; when there are as many, those
	// that are over give way. Each takes some 50 bytes of memory and of the
	// file, and its name in both.
	MaxHolds = 1 << 16
)

// A Query asks for one of several registrations that are looked up together.
type Query struct {
	Name []byte // canonical; it is not kept

	// The answer, both parts as Find returns them.
	Registration foyer.Registration
	Err          error
}

// A Store keeps registrations. Errors other than those named are failures of
// the storage itself; they wrap [foyer.ErrUnavailable].
type Store interface {
	// Find returns the registration of a canonical name, as the last finished
	// Update left it, or [foyer.ErrUnknownName]. It may be called from any
	// goroutine, does not allocate, does not touch the disk, and never waits
	// for Update. It does not keep name.
	Find(name []byte) (foyer.Registration, error)

	// FindAll answers the queries as if Find were called for one after the
	// other, under the same conditions. Many names may cost less together.
	FindAll(queries []Query)

	// Update runs fn in a transaction. When it returns nil, everything that fn
	// did is durable and visible to Find, together or, after a crash, not at
	// all. If fn returns an error, nothing is changed and Update returns that
	// error. If the transaction cannot be made durable, the error wraps
	// foyer.ErrUnavailable and nothing has happened, now or later; a store that
	// cannot be sure of that returns an error that wraps [ErrUncertain]. Later
	// calls try anew.
	//
	// Calls run one after the other. fn must not keep the Tx. It is run again if
	// another process was faster to change what is stored, see [Shared]; where no
	// other may change it, Update fails.
	Update(now Instant, fn func(Tx) error) error

	// Recorded reports whether there may be an outcome under id, of an Update
	// that is finished, or of one that was uncertain and still is. False is
	// certain, also while the storage fails. It is called between Updates, by
	// whoever calls those.
	Recorded(id foyer.ID) bool

	// Check returns an error that wraps [ErrRemoved] if what an Update writes now
	// could not be found after a restart. It takes a few microseconds and may be
	// called from any goroutine, also within an Update; Update does not call it.
	Check() error

	// List returns up to limit registrations in ascending order of their
	// names' bytes, those greater than after only; the empty name begins at the
	// beginning. One call sees one state of the store; between calls it may
	// change. It holds no transaction open when it returns.
	List(after foyer.Name, limit int) ([]foyer.Registration, error)

	// History returns what is remembered of a name, newest first, or an empty
	// slice. Exits are not. A name that is not registered may have a history.
	History(name foyer.Name) ([]Event, error)

	// Holds returns every hold, also those that are over, in ascending order of
	// the names' bytes.
	Holds() ([]Hold, error)

	// Len returns the number of registrations. It is as cheap as Find.
	Len() int

	// Last returns the latest Instant that an Update was given, over all
	// processes that used the store; the zero Instant for a new store.
	Last() Instant

	// Close releases the store. It waits for a running Update. Find must not
	// be called any more. Its error wraps [ErrRemoved] if Check's does.
	Close() error
}

// A Tx is a transaction. It sees its own changes. Its methods are called from
// one goroutine.
type Tx interface {
	// Now returns the Instant of the transaction: what Update was given, but no
	// earlier than that of the one before.
	Now() Instant

	// Get returns the registration of a canonical name or foyer.ErrUnknownName.
	Get(name foyer.Name) (foyer.Registration, error)

	// NameAt returns the name that is registered at an address, or
	// foyer.ErrUnknownName.
	NameAt(addr foyer.Address) (foyer.Name, error)

	// Outcome returns the outcome recorded under id, or ok false. The caller
	// must not change or keep its Reply.
	Outcome(id foyer.ID) (o Outcome, ok bool, err error)

	// Apply carries out an event. The caller has made sure that it fits: that a
	// name registered anew is free, that its address is free or its own, that a
	// name that is replaced, extended, renewed or ended is registered. An event
	// that does not fit is an error, and the transaction must then be given up.
	Apply(e Event) error

	// Record keeps an outcome, for [OutcomeRetention] at least. The id must not
	// be recorded yet, and there must be fewer than [MaxOutcomes] of them.
	Record(o Outcome) error

	// Held returns the hold on a canonical name, also one that is over, or ok
	// false. It is as cheap as Get.
	Held(name foyer.Name) (h Hold, ok bool)

	// Hold keeps h, in place of one that there is on the name; one without an
	// Until takes it away. If [MaxHolds] are kept, none of which is over by the
	// transaction's Instant, the error wraps [foyer.ErrBusy], and the transaction
	// can go on without.
	Hold(h Hold) error

	// Outcomes returns how many outcomes are kept, those of this transaction
	// among them. One that has outlived its retention counts until an Update
	// that succeeds has let go of it.
	Outcomes() int
}
