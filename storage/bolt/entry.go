package bolt

import (
	"net/netip"
	"time"
	"unsafe"

	"foyer"
)

// An entry is a registration as an arena keeps it: this header, and behind it
// the name, the address, the owner's key and the IP address that it came from,
// as far as there are any. One piece instead of a struct and two strings,
// because a look-up among a million names costs little but the cache misses of
// following pointers, and because it halves the memory.
//
// An entry never changes, so the strings of a Registration may point into it.
type entry struct {
	registered int64 // milliseconds since 1970
	leaseEnd   int64 // nanoseconds of the lease clock
	ttl        uint32
	nameLen    uint8
	addressLen uint8
	ipLen      uint8 // 0, 4 or 16
	hasOwner   bool
}

const entryHeader = int(unsafe.Sizeof(entry{}))

// newHeader returns the header of an entry for r, or ok false if r cannot be
// kept: name or address empty or too long, a lease that is negative or longer
// than 136 years.
func newHeader(r *foyer.Registration) (h entry, ok bool) {
	seconds := r.TTL / time.Second
	if r.Name == "" || len(r.Name) > foyer.MaxName || r.Address == "" || len(r.Address) > foyer.MaxAddress ||
		seconds < 0 || seconds >= 1<<32 {
		return entry{}, false
	}
	return entry{
		registered: r.RegisteredAt.UnixMilli(),
		leaseEnd:   int64(r.LeaseEnd),
		ttl:        uint32(seconds),
		nameLen:    uint8(len(r.Name)),
		addressLen: uint8(len(r.Address)),
		ipLen:      uint8(r.From.BitLen() / 8),
		hasOwner:   !r.Owner.IsZero(),
	}, true
}

// length returns how many bytes stand behind the header.
func (e *entry) length() int {
	n := int(e.nameLen) + int(e.addressLen) + int(e.ipLen)
	if e.hasOwner {
		n += len(foyer.Key{})
	}
	return n
}

// size returns how many bytes the entry takes up.
func (e *entry) size() int {
	return (entryHeader + e.length() + entryAlign - 1) &^ (entryAlign - 1)
}

// write makes e, for which there is as much space as h says, the entry of r.
func (e *entry) write(h entry, r *foyer.Registration) {
	*e = h
	b := append(append(e.part(0, e.length())[:0], r.Name...), r.Address...)
	if h.hasOwner {
		b = append(b, r.Owner[:]...)
	}
	if h.ipLen == 4 {
		a := r.From.As4()
		_ = append(b, a[:]...)
	} else if h.ipLen == 16 {
		a := r.From.As16()
		_ = append(b, a[:]...)
	}
}

// part returns n bytes of what stands behind the header.
func (e *entry) part(offset, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), entryHeader+offset)), n)
}

func (e *entry) name() string    { return viewString(e.part(0, int(e.nameLen))) }
func (e *entry) address() string { return viewString(e.part(int(e.nameLen), int(e.addressLen))) }

// registration returns what the entry holds. It does not allocate.
func (e *entry) registration() foyer.Registration {
	r := foyer.Registration{
		Name:         foyer.Name(e.name()),
		Address:      foyer.Address(e.address()),
		RegisteredAt: time.UnixMilli(e.registered).UTC(),
		TTL:          time.Duration(e.ttl) * time.Second,
		LeaseEnd:     time.Duration(e.leaseEnd),
	}
	at := int(e.nameLen) + int(e.addressLen)
	if e.hasOwner {
		copy(r.Owner[:], e.part(at, len(r.Owner)))
		at += len(r.Owner)
	}
	switch e.ipLen {
	case 4:
		r.From = netip.AddrFrom4([4]byte(e.part(at, 4)))
	case 16:
		r.From = netip.AddrFrom16([16]byte(e.part(at, 16)))
	}
	return r
}
