package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"time"
	"unsafe"

	"foyer"
	"foyer/storage"
)

// The smallest pieces of the format.
//
//	uvarint, varint   as in encoding/binary
//	text              length in one byte, then as many bytes
//	time              milliseconds since 1970, a varint
//	IP                a text of 0, 4 or 16 bytes
//
//	event:    kind, 1 byte | flags, 1 byte | [text address | IP registered from | text owner] |
//	          [time registered | varint ttl in ns | varint lease end in ns] | [time | IP came from]
//	outcome:  id, 16 bytes | fingerprint, 16 bytes | uvarint length of the reply | reply
//	clocks:   varint seconds since 1970 | varint ns | varint ns of the lease clock
//
// The flags of an event say what follows. What does not is as in the registration after it, or for its time and origin as
// in its own registration: most events take two bytes.
const (
	hasPlace = 1 << iota
	hasLease
	hasOrigin
)

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// appendTime appends whole milliseconds, which is all that the contract of a Store keeps.
func appendTime(b []byte, t time.Time) []byte { return binary.AppendVarint(b, t.UnixMilli()) }

// appendIP appends an address without its zone, which has no meaning on another machine.
func appendIP(b []byte, ip netip.Addr) []byte { return appendText(b, string(ip.AsSlice())) }

func appendEvent(b []byte, e *storage.Event, after *foyer.Registration) []byte {
	r, flags := &e.Registration, len(b)+1
	b = append(b, byte(e.Kind), 0)
	if r.Address != after.Address || r.From != after.From || r.Owner != after.Owner {
		b[flags] |= hasPlace
		b = appendIP(appendText(b, string(r.Address)), r.From)
		if r.Owner.IsZero() {
			b = append(b, 0)
		} else {
			b = appendText(b, string(r.Owner[:]))
		}
	}
	if !r.RegisteredAt.Equal(after.RegisteredAt) || r.TTL != after.TTL || r.LeaseEnd != after.LeaseEnd {
		b[flags] |= hasLease
		b = binary.AppendVarint(appendTime(b, r.RegisteredAt), int64(r.TTL))
		b = binary.AppendVarint(b, int64(r.LeaseEnd))
	}
	if !e.Time.Equal(r.RegisteredAt) || e.From != r.From {
		b[flags] |= hasOrigin
		b = appendIP(appendTime(b, e.Time), e.From)
	}
	return b
}

// event decodes what appendEvent wrote. Its strings are views.
func (d *decoder) event(after *foyer.Registration) storage.Event {
	e := storage.Event{Kind: storage.Kind(d.byte()), Registration: *after}
	r, flags := &e.Registration, d.byte()
	r.Exits = "" // no part of a history
	if flags&hasPlace != 0 {
		r.Address, r.From, r.Owner = foyer.Address(d.text()), d.ip(), foyer.Key{}
		copy(r.Owner[:], d.text())
	}
	if flags&hasLease != 0 {
		r.RegisteredAt, r.TTL, r.LeaseEnd = d.time(), time.Duration(d.varint()), time.Duration(d.varint())
	}
	e.Time, e.From = r.RegisteredAt, r.From
	if flags&hasOrigin != 0 {
		e.Time, e.From = d.time(), d.ip()
	}
	return e
}

func appendOutcome(b []byte, o *storage.Outcome) []byte {
	b = append(append(b, o.ID[:]...), o.Fingerprint[:]...)
	return append(binary.AppendUvarint(b, uint64(len(o.Reply))), o.Reply...)
}

// outcome returns an outcome whose Reply is a view.
func (d *decoder) outcome() (o storage.Outcome) {
	copy(o.ID[:], d.take(len(o.ID)))
	copy(o.Fingerprint[:], d.take(len(o.Fingerprint)))
	o.Reply = d.take(d.uvarint())
	return o
}

func appendClocks(b []byte, now storage.Instant) []byte {
	b = binary.AppendVarint(b, now.Wall.Unix())
	b = binary.AppendVarint(b, int64(now.Wall.Nanosecond()))
	return binary.AppendVarint(b, int64(now.Lease))
}

func (d *decoder) clocks() storage.Instant {
	return storage.Instant{Wall: time.Unix(d.varint(), d.varint()).UTC(), Lease: time.Duration(d.varint())}
}

// checksum returns the CRC-32C of bytes that belong to one place only.
func checksum(place string, b []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(place), castagnoli), castagnoli, b)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal fills in the checksum that b begins with, 4 bytes.
func seal(place string, b []byte) { binary.BigEndian.PutUint32(b, checksum(place, b[4:])) }

// unseal returns an error unless b begins with its checksum.
func unseal(place string, b []byte) error {
	if len(b) < 4 || binary.BigEndian.Uint32(b) != checksum(place, b[4:]) {
		return malformed("the checksum of %s is wrong", place)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{storage.ErrDamaged}, args...)...)
}

func damaged(err error) error {
	if err == nil || errors.Is(err, storage.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
}

// A decoder takes pieces off the front of b. After the first piece that is not there, or is malformed, bad is set and
// everything it returns is zero.
type decoder struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, a view into the decoder's.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.b, d.bad = nil, true
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.take(cmp.Or(n, -1))
	return v
}

// uvarint returns a length.
func (d *decoder) uvarint() int {
	v, n := binary.Uvarint(d.b)
	d.take(cmp.Or(n, -1))
	return int(min(v, 1<<40))
}

// text returns a view: a string that lives as long as the bytes that it was decoded from. Whoever keeps it clones it.
func (d *decoder) text() string { return viewString(d.take(int(d.byte()))) }

func (d *decoder) time() time.Time { return time.UnixMilli(d.varint()).UTC() }

func (d *decoder) ip() netip.Addr {
	a, _ := netip.AddrFromSlice(d.take(int(d.byte())))
	return a
}

// viewString returns a string that lives and changes with b.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func boolToInt(b bool) (n int) {
	if b {
		n = 1
	}
	return n
}
