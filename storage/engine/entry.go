package engine

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"foyer"
	"foyer/storage"
)

// An entry is all that is known of one name, as an arena, the groups and the pieces of a snapshot have it.
//
//	entry:  registered, 8 bytes | lease end, 8 | lease, 4 | length of the history, 2 |
//	        length of the name, 1 | of the address, 1 |
//	        name | address | [owner, 32 bytes] | [IP registered from, 4 or 16] |
//	        [held since, 8 | until, 8] | [length of the exits, 2 | exits] | history | padding to a multiple of 8 bytes
//
//	registered  milliseconds since 1970; if it is not registered, the position of the group that ended it
//	lease end   nanoseconds of the lease clock; if it is not registered, which of the group's ends it was
//	lease       seconds of the ttl << ttlShift | flags; the highest bit is a flag too, since version 4 of bolt's format
//	history     events, newest first, each told apart from the registration after it; see codec.go
//
// Numbers are little-endian. It is one piece of memory because a look-up among a million names costs little but the cache
// misses of following pointers. An entry never changes, so the strings of a Registration may point into it.
type entry struct{ header [entryHeader]byte }

const entryHeader, entryAlign = 24, 8

const (
	isRegistered = 1 << iota
	isOwned
	isFrom4
	isFrom16
	isHeld

	ttlShift = iota
	hasExits = 1 << 31
	maxTTL   = hasExits>>ttlShift - 1 // seconds: more than two years
	maxExits = foyer.MaxExits * 3 / 4 // bytes of what a tag encodes
)

var le = binary.LittleEndian

func (e *entry) has(flag uint32) bool { return e != nil && le.Uint32(e.header[16:])&flag != 0 }
func (e *entry) historyLen() int      { return int(le.Uint16(e.header[20:])) }
func (e *entry) nameLen() int         { return int(e.header[22]) }
func (e *entry) addressLen() int      { return int(e.header[23]) }

// known reports whether anything is known of the name.
func (e *entry) known() bool { return e.has(isRegistered|isHeld) || e != nil && e.historyLen() > 0 }

// isEnded reports whether e is in the queue of those whose history is forgotten when there are too many.
func (e *entry) isEnded() bool { return e.known() && !e.has(isRegistered) && e.historyLen() > 0 }

func (e *entry) endOrder() endOrder {
	return endOrder{le.Uint64(e.header[0:]), le.Uint64(e.header[8:])}
}

func (e *entry) exitsAt() int {
	n := e.nameLen() + e.addressLen()
	for flag, size := range [...]int{1: len(foyer.Key{}), 2: 4, 3: 16, 4: 16} {
		if e.has(1 << flag) {
			n += size
		}
	}
	return n
}

// exits returns the exits as a view.
func (e *entry) exits() string {
	if !e.has(hasExits) {
		return ""
	}
	at := e.exitsAt()
	return viewString(e.part(at+2, int(le.Uint16(e.part(at, 2)))))
}

func (e *entry) historyAt() int {
	n := e.exitsAt()
	if e.has(hasExits) {
		n += 2 + int(le.Uint16(e.part(n, 2)))
	}
	return n
}

func (e *entry) size() int {
	return (entryHeader + e.historyAt() + e.historyLen() + entryAlign - 1) &^ (entryAlign - 1)
}

func (e *entry) bytes() []byte { return unsafe.Slice(&e.header[0], e.size()) }

// part returns n bytes of what stands behind the header.
func (e *entry) part(offset, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), entryHeader+offset)), n)
}

func (e *entry) name() string    { return viewString(e.part(0, e.nameLen())) }
func (e *entry) address() string { return viewString(e.part(e.nameLen(), e.addressLen())) }

// registration returns what the entry of a registered name holds. It does not allocate.
func (e *entry) registration() (r foyer.Registration) {
	r = foyer.Registration{
		Name:         foyer.Name(e.name()),
		Address:      foyer.Address(e.address()),
		RegisteredAt: time.UnixMilli(int64(le.Uint64(e.header[0:]))).UTC(),
		TTL:          time.Duration(le.Uint32(e.header[16:])&^hasExits>>ttlShift) * time.Second,
		LeaseEnd:     time.Duration(le.Uint64(e.header[8:])),
		Exits:        foyer.Exits(e.exits()),
	}
	at := e.nameLen() + e.addressLen()
	if e.has(isOwned) {
		at += copy(r.Owner[:], e.part(at, len(r.Owner)))
	}
	if e.has(isFrom4) {
		r.From = netip.AddrFrom4([4]byte(e.part(at, 4)))
	} else if e.has(isFrom16) {
		r.From = netip.AddrFrom16([16]byte(e.part(at, 16)))
	}
	return r
}

// hold returns the hold on the name, without an Until if there is none.
func (e *entry) hold() (h storage.Hold) {
	if !e.has(isHeld) {
		return h
	}
	b := e.part(e.exitsAt()-16, 16)
	at := func(b []byte) time.Time { return time.UnixMilli(int64(le.Uint64(b))).UTC() }
	return storage.Hold{Name: foyer.Name(e.name()), Since: at(b), Until: at(b[8:])}
}

// A record is an entry to read and to change.
type record struct {
	registration foyer.Registration // no more than the name if it is not registered
	registered   bool
	ended        endOrder // if it is not registered
	hold         storage.Hold
	history      []storage.Event // newest first
}

// An endOrder says which name ended first: those of earlier groups, and of one group those whose place among its ends is
// lower.
type endOrder struct{ position, place uint64 }

func (o endOrder) compare(other endOrder) int {
	return cmp.Or(cmp.Compare(o.position, other.position), cmp.Compare(o.place, other.place))
}

// read makes r what e says of a name; e may be nil. Its strings are views.
func (r *record) read(name string, e *entry) error {
	*r = record{history: r.history[:0]}
	r.registration.Name = foyer.Name(name)
	if e == nil {
		return nil
	}
	if r.hold, r.registered = e.hold(), e.has(isRegistered); r.registered {
		r.registration = e.registration()
	} else {
		r.ended = e.endOrder()
	}
	d := decoder{b: e.part(e.historyAt(), e.historyLen())}
	for base := &r.registration; len(d.b) > 0; base = &r.history[len(r.history)-1].Registration {
		r.history = append(r.history, d.event(base))
	}
	if d.bad {
		return malformed("the history of %q does not decode", name)
	}
	return nil
}

// apply makes r what it is after an event. One that ends a registration does so in the order ended.
func (r *record) apply(e *storage.Event, ended endOrder) {
	switch {
	case e.Kind <= storage.Extended:
		r.registration, r.registered = e.Registration, true
	case e.Kind.Ends():
		r.registration, r.registered, r.ended = foyer.Registration{Name: e.Registration.Name}, false, ended
	}
	if e.Kind.Remembered() {
		r.history = slices.Insert(r.history, 0, *e)
		r.history = r.history[:min(len(r.history), storage.HistoryPerName)]
		r.history[0].Registration.Exits = ""
	}
}

// fits reports whether a registration can be kept: its name and address are neither empty nor too long, its lease is not
// negative nor longer than two years, and its exits fit into a tag.
func fits(r *foyer.Registration) bool {
	return r.Name != "" && len(r.Name) <= foyer.MaxName && r.Address != "" && len(r.Address) <= foyer.MaxAddress &&
		r.TTL >= 0 && r.TTL/time.Second <= maxTTL && len(r.Exits) <= maxExits
}

func (r *record) append(b []byte) []byte {
	g := &r.registration
	start := len(b)
	registered, leaseEnd, lease := r.ended.position, r.ended.place, uint32(0)
	if r.registered {
		registered, leaseEnd = uint64(g.RegisteredAt.UnixMilli()), uint64(g.LeaseEnd)
		lease = uint32(g.TTL/time.Second)<<ttlShift | isRegistered
	}
	b = le.AppendUint64(le.AppendUint64(b, registered), leaseEnd)
	b = append(b, 0, 0, 0, 0, 0, 0, byte(len(g.Name)), byte(len(g.Address)))
	b = append(append(b, g.Name...), g.Address...)
	if !g.Owner.IsZero() {
		lease |= isOwned
		b = append(b, g.Owner[:]...)
	}
	if g.From.Is4() {
		lease |= isFrom4
	} else if g.From.Is6() {
		lease |= isFrom16
	}
	b = append(b, g.From.AsSlice()...)
	if !r.hold.Until.IsZero() {
		lease |= isHeld
		b = le.AppendUint64(b, uint64(r.hold.Since.UnixMilli()))
		b = le.AppendUint64(b, uint64(r.hold.Until.UnixMilli()))
	}
	if g.Exits != "" {
		lease |= hasExits
		b = append(le.AppendUint16(b, uint16(len(g.Exits))), g.Exits...)
	}
	history, base := len(b), g
	for i := range r.history {
		b = appendEvent(b, &r.history[i], base)
		base = &r.history[i].Registration
	}
	le.PutUint32(b[start+16:], lease)
	le.PutUint16(b[start+20:], uint16(len(b)-history))
	return append(b, make([]byte, -(len(b)-start)&(entryAlign-1))...)
}

// decodeEntry returns the entry that b begins with, a view.
func decodeEntry(b []byte) (*entry, error) {
	if len(b) >= entryHeader {
		e := (*entry)(unsafe.Pointer(&b[0]))
		if (!e.has(hasExits) || entryHeader+e.exitsAt()+2 <= len(b)) && e.size() <= len(b) && e.nameLen() > 0 && e.has(isRegistered) == (e.addressLen() > 0) {
			return e, nil
		}
	}
	return nil, malformed("an entry does not decode")
}
