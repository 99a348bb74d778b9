package discovery

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"foyer"
	"foyer/storage"
)

// A View is what the tools read of a store, whether a server holds it or not:
// methods of [storage.Store].
type View interface {
	Find(name []byte) (foyer.Registration, error)
	List(after foyer.Name, limit int) ([]foyer.Registration, error)
	History(name foyer.Name) ([]storage.Event, error)
	Holds() ([]storage.Hold, error)
	Len() int
}

// A Row is a registration as `registry dump` and the admin interface write it
// in JSON.
type Row struct {
	Name         foyer.Name    `json:"name"`
	Address      foyer.Address `json:"address"`
	RegisteredAt time.Time     `json:"registered_at"` // RFC 3339, UTC
	TTLSeconds   int64         `json:"ttl_seconds"`   // 0 without a lease
	Owner        string        `json:"owner"`         // public key in base64url, or empty
	From         string        `json:"from"`          // IP address that registered it
	Exits        foyer.Exits   `json:"exits,omitempty"`

	// Of a registry that runs, and no part of a dump: how long the lease still runs,
	// nil without one, and when the room was last heard, zero if this process has not.
	LeaseRemaining *Seconds  `json:"lease_remaining_seconds,omitempty"`
	LastHeardAt    time.Time `json:"last_heard_at,omitzero"` // RFC 3339, UTC
}

// Seconds is a duration that JSON has in seconds, to the millisecond.
type Seconds time.Duration

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Millisecond).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	*s = Seconds(seconds * float64(time.Second))
	return err
}

// RowOf returns r as a Row.
func RowOf(r *foyer.Registration) Row {
	row := Row{
		Name:         r.Name,
		Address:      r.Address,
		RegisteredAt: r.RegisteredAt,
		TTLSeconds:   int64(r.TTL / time.Second),
		Owner:        r.Owner.String(),
		Exits:        r.Exits,
	}
	if r.From.IsValid() {
		row.From = r.From.String()
	}
	return row
}

// Row returns r with what is known of its lease now.
func (s *Server) Row(r *foyer.Registration) Row {
	row := RowOf(r)
	if end, heard, ok := s.leases.at(r.Name, r.Address); ok {
		row.LeaseRemaining = new(Seconds(s.left(r, end)))
		if heard != unheard {
			row.LastHeardAt = s.clock.wallAt(heard)
		}
	}
	return row
}

// LeaseLeft returns how long the lease of r still runs, and false if it has none.
func (s *Server) LeaseLeft(r *foyer.Registration) (left time.Duration, ok bool) {
	end, _, ok := s.leases.at(r.Name, r.Address)
	return s.left(r, end), ok
}

// left returns how long a lease still runs that ends at a time.
func (s *Server) left(r *foyer.Registration, end time.Duration) time.Duration {
	return min(max(0, end-s.clock.leaseNow()), r.TTL)
}

// An Entry is one event of a name's history as `registry explain` and the admin
// interface write it in JSON.
type Entry struct {
	Time       time.Time     `json:"time"`  // RFC 3339, UTC
	Event      string        `json:"event"` // see [storage.Kind]; or "held", until Until
	Address    foyer.Address `json:"address"`
	TTLSeconds int64         `json:"ttl_seconds"`
	Owner      string        `json:"owner"`
	From       string        `json:"from"` // whose request it was; empty for the registry and its operator
	Until      time.Time     `json:"until,omitzero"`
}

// EntryOf returns e as an Entry.
func EntryOf(e *storage.Event) Entry {
	entry := Entry{
		Time:       e.Time,
		Event:      e.Kind.String(),
		Address:    e.Registration.Address,
		TTLSeconds: int64(e.Registration.TTL / time.Second),
		Owner:      e.Registration.Owner.String(),
	}
	if e.From.IsValid() {
		entry.From = e.From.String()
	}
	return entry
}

// DumpPage is how many registrations are read from a store at a time for a
// dump: so many see one state, and a transaction waits for one page at most.
const DumpPage = 1024

// Registrations returns those whose names begin with prefix and are greater than
// after, by name, read in pages of the given size.
func Registrations(v View, prefix, after foyer.Name, page int) iter.Seq2[foyer.Registration, error] {
	return func(yield func(foyer.Registration, error) bool) {
		if prefix > after { // List begins behind it
			switch reg, err := v.Find([]byte(prefix)); {
			case err == nil && !yield(reg, nil):
				return
			case err != nil && !errors.Is(err, foyer.ErrUnknownName):
				yield(foyer.Registration{}, err)
				return
			}
		}
		for reg, err := range storage.AllAfter(v, max(prefix, after), page) {
			if err == nil && !strings.HasPrefix(string(reg.Name), string(prefix)) || !yield(reg, err) {
				return
			}
		}
	}
}

// Rows returns the registrations whose names begin with prefix, by name.
func Rows(v View, prefix foyer.Name) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for reg, err := range Registrations(v, prefix, "", DumpPage) {
			if !yield(RowOf(&reg), err) {
				return
			}
		}
	}
}

// A Held is a name that is kept from being registered, as `registry list
// --evicted` and the admin interface write it in JSON.
type Held struct {
	Name  foyer.Name `json:"name"`
	Since time.Time  `json:"since"` // RFC 3339, UTC, like Until
	Until time.Time  `json:"until"`
}

// HeldNames returns the names that are held at a time and begin with prefix.
func HeldNames(v View, prefix foyer.Name, now time.Time) iter.Seq2[Held, error] {
	return func(yield func(Held, error) bool) {
		holds, err := v.Holds()
		if err != nil {
			yield(Held{}, err)
			return
		}
		for _, h := range holds {
			if h.Until.After(now) && strings.HasPrefix(string(h.Name), string(prefix)) && !yield(Held(h), nil) {
				return
			}
		}
	}
}

// History returns what is known of a name, newest first. It yields an error
// that is [foyer.ErrUnknownName] if that is nothing.
func History(v View, name foyer.Name, now time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		events, err := v.History(name)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		known := len(events) > 0
		for h, err := range HeldNames(v, name, now) {
			switch {
			case err != nil:
				yield(Entry{}, err)
				return
			case h.Name != name:
			case !yield(Entry{Time: h.Since, Event: "held", Until: h.Until}, nil):
				return
			default:
				known = true
			}
		}
		for i := range events {
			if !yield(EntryOf(&events[i]), nil) {
				return
			}
		}
		if !known {
			yield(Entry{}, Unknown(v, name, fmt.Sprintf("nothing is known of the name %q", name)))
		}
	}
}

// Unknown returns an error that is [foyer.ErrUnknownName] and says so in the words
// of text, and which name is registered that differs from name only in the case
// of its letters, if there is one. It reads all names.
func Unknown(v View, name foyer.Name, text string) error {
	for reg, err := range storage.AllAfter(v, "", DumpPage) {
		if err != nil {
			return err
		}
		if reg.Name != name && strings.EqualFold(string(reg.Name), string(name)) {
			text += fmt.Sprintf("; %q is registered", reg.Name)
			break
		}
	}
	return &foyer.Error{Code: foyer.UnknownName, Text: text}
}

// NotRegistered is Unknown for a name that should be registered.
func NotRegistered(v View, name foyer.Name) error {
	return Unknown(v, name, fmt.Sprintf("no room of the name %q is registered", name))
}
