package bolt

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"foyer"
	"foyer/storage"
)

// The smallest pieces of the format; groups and records are made of them.
//
//	uvarint, varint   as in encoding/binary
//	text              length in one byte, then as many bytes
//	time              milliseconds since 1970, a varint
//	clock             nanoseconds, a varint
//	address of an IP  length in one byte (0, 4 or 16), then as many bytes
//
//	registration:  flags | text address | time registered |
//	               [uvarint ttl in seconds | clock lease end] | [32 bytes owner] | IP from
//	event:         kind | time | IP from | registration
//
// A registration does not hold its name, which stands before it or is the key.

// Flags of a registration.
const (
	hasLease = 1 << iota
	hasOwner
	allFlags = 1<<iota - 1
)

func appendText(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...)
}

// appendTime appends whole milliseconds, which is all that the contract of a
// Store keeps.
func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendVarint(b, t.UnixMilli())
}

// appendIP appends an address without its zone: a zone means something on one
// machine only.
func appendIP(b []byte, ip netip.Addr) []byte {
	switch {
	case ip.Is4():
		a := ip.As4()
		return append(append(b, 4), a[:]...)
	case ip.Is6():
		a := ip.As16()
		return append(append(b, 16), a[:]...)
	}
	return append(b, 0)
}

func appendRegistration(b []byte, r foyer.Registration) []byte {
	var flags byte
	if r.TTL != 0 || r.LeaseEnd != 0 {
		flags |= hasLease
	}
	if !r.Owner.IsZero() {
		flags |= hasOwner
	}
	b = appendText(append(b, flags), string(r.Address))
	b = appendTime(b, r.RegisteredAt)
	if flags&hasLease != 0 {
		b = binary.AppendUvarint(b, uint64(r.TTL/time.Second))
		b = binary.AppendVarint(b, int64(r.LeaseEnd))
	}
	if flags&hasOwner != 0 {
		b = append(b, r.Owner[:]...)
	}
	return appendIP(b, r.From)
}

func appendEvent(b []byte, e storage.Event) []byte {
	b = appendTime(append(b, byte(e.Kind)), e.Time)
	b = appendIP(b, e.From)
	return appendRegistration(b, e.Registration)
}

var errMalformed = errors.New("malformed value")

// A decoder takes pieces off the front of b. After the first piece that is not
// there, or is malformed, bad is set and everything it returns is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.b, d.bad = nil, true
}

// take returns the next n bytes, a view into the decoder's.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count returns a number of things that follow, each at least size bytes long,
// so that a damaged count cannot ask for more than there is.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// text returns a view, as take does: a string that lives as long as the bytes
// that it was decoded from. Whoever keeps it clones it.
func (d *decoder) text() string {
	p := d.take(int(d.byte()))
	return viewString(p)
}

func (d *decoder) time() time.Time {
	return time.UnixMilli(d.varint()).UTC()
}

func (d *decoder) ip() netip.Addr {
	switch n := int(d.byte()); n {
	case 0:
		return netip.Addr{}
	case 4:
		if p := d.take(n); !d.bad {
			return netip.AddrFrom4([4]byte(p))
		}
	case 16:
		if p := d.take(n); !d.bad {
			return netip.AddrFrom16([16]byte(p))
		}
	default:
		d.fail()
	}
	return netip.Addr{}
}

const maxSeconds = uint64(1<<63-1) / uint64(time.Second)

// registration returns the registration of name. Its address is a view, see
// text.
func (d *decoder) registration(name string) foyer.Registration {
	flags := d.byte()
	r := foyer.Registration{Name: foyer.Name(name), Address: foyer.Address(d.text()), RegisteredAt: d.time()}
	if flags&hasLease != 0 {
		seconds := d.uvarint()
		if seconds > maxSeconds {
			d.fail()
		}
		r.TTL = time.Duration(seconds) * time.Second
		r.LeaseEnd = time.Duration(d.varint())
	}
	if flags&hasOwner != 0 {
		copy(r.Owner[:], d.take(len(r.Owner)))
	}
	r.From = d.ip()
	if flags > allFlags || r.Address == "" || len(r.Address) > foyer.MaxAddress {
		d.fail()
	}
	if d.bad {
		return foyer.Registration{}
	}
	return r
}

// event returns an event of name. Its address is a view, see text.
func (d *decoder) event(name string) storage.Event {
	e := storage.Event{Kind: storage.Kind(d.byte())}
	if !known(e.Kind) {
		d.fail()
	}
	e.Time = d.time()
	e.From = d.ip()
	e.Registration = d.registration(name)
	return e
}

// name returns a name that stands before something. It is a view, see text.
func (d *decoder) name() string {
	s := d.text()
	if s == "" {
		d.fail()
	}
	return s
}

func known(k storage.Kind) bool { return k >= storage.Registered && k <= storage.Evicted }

// viewBytes returns the bytes of s, which must not be written to.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// viewString returns a string that lives and changes with b.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
