package bolt

import (
	"net/netip"
	"time"
	"unsafe"

	"foyer/room"
)

// An entry is a registration as the index keeps it: this header, and behind it
// in the same piece of memory the name, the address, the owner's key and the IP
// address that it came from, as far as there are any. One piece instead of a
// struct and two strings, because a look-up among a million names costs little
// but the cache misses of following pointers, and because it halves the memory.
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

// newEntry returns an entry that holds copies of all that r consists of, or nil
// if r cannot be kept: name or address empty or too long, a lease that is
// negative or longer than 136 years.
func newEntry(r room.Registration) *entry {
	seconds := r.TTL / time.Second
	if r.Name == "" || len(r.Name) > room.MaxName || r.Address == "" || len(r.Address) > room.MaxAddress ||
		seconds < 0 || seconds >= 1<<32 {
		return nil
	}
	h := entry{
		registered: r.RegisteredAt.UnixMilli(),
		leaseEnd:   int64(r.LeaseEnd),
		ttl:        uint32(seconds),
		nameLen:    uint8(len(r.Name)),
		addressLen: uint8(len(r.Address)),
		ipLen:      uint8(r.From.BitLen() / 8),
		hasOwner:   !r.Owner.IsZero(),
	}
	size := entryHeader + len(r.Name) + len(r.Address) + int(h.ipLen)
	if h.hasOwner {
		size += len(r.Owner)
	}
	// Of at least 8 bytes and without pointers: aligned for the header.
	b := make([]byte, entryHeader, size)
	e := (*entry)(unsafe.Pointer(unsafe.SliceData(b)))
	*e = h
	b = append(append(b, r.Name...), r.Address...)
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
	return e
}

// part returns n bytes of what stands behind the header.
func (e *entry) part(offset, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), entryHeader+offset)), n)
}

func (e *entry) name() string    { return viewString(e.part(0, int(e.nameLen))) }
func (e *entry) address() string { return viewString(e.part(int(e.nameLen), int(e.addressLen))) }

// registration returns what the entry holds. It does not allocate.
func (e *entry) registration() room.Registration {
	r := room.Registration{
		Name:         room.Name(e.name()),
		Address:      room.Address(e.address()),
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
