package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"foyer/storage"
)

// A group is all that one Update changed. In the log it takes up consecutive
// blocks; its position is the number of the first.
//
//	group:    length of the body, 4 bytes | checksum of position and body, 4 bytes | body
//	body:     clocks |
//	          uvarint number of outcomes | outcomes... |
//	          uvarint number of changes | changes... |
//	          uvarint number of forgotten names | text names...
//	clocks:   varint seconds since 1970, uvarint nanoseconds | clock lease
//	outcome:  id, 16 bytes | fingerprint, 16 bytes | uvarint length of the reply | reply
//	change:   text name | event
//
// Fixed numbers are big-endian, checksums are CRC-32C.
const (
	groupHeader = 8
	outcomeMin  = 16 + 16 + 1
	changeMin   = 1 + 1 + 1 + 1 + 1 + 4

	// blockSize is chosen so that four blocks, with their keys, fill a page of
	// 4 KiB: a group appended is written once, not again with each of the next.
	blockSize = 992
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumAt returns the checksum of bytes that belong at one place only.
func checksumAt(place, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(place, castagnoli), castagnoli, body)
}

func blockKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// blocks returns how many blocks a group of n bytes takes up.
func blocks(n int) uint64 { return uint64((n + blockSize - 1) / blockSize) }

// sealGroup fills in the header of a group, whose body begins at groupHeader.
func sealGroup(g []byte, position uint64) {
	binary.BigEndian.PutUint32(g, uint32(len(g)-groupHeader))
	binary.BigEndian.PutUint32(g[4:], checksumAt(blockKey(position), g[groupHeader:]))
}

func appendClocks(b []byte, now storage.Instant) []byte {
	b = binary.AppendVarint(b, now.Wall.Unix())
	b = binary.AppendUvarint(b, uint64(now.Wall.Nanosecond()))
	return binary.AppendVarint(b, int64(now.Lease))
}

func (d *decoder) clocks() storage.Instant {
	sec, nsec := d.varint(), d.uvarint()
	if nsec >= uint64(time.Second) {
		d.fail()
		nsec = 0
	}
	return storage.Instant{Wall: time.Unix(sec, int64(nsec)).UTC(), Lease: time.Duration(d.varint())}
}

func appendOutcome(b []byte, o storage.Outcome) []byte {
	b = append(append(b, o.ID[:]...), o.Fingerprint[:]...)
	b = binary.AppendUvarint(b, uint64(len(o.Reply)))
	return append(b, o.Reply...)
}

// outcome returns an outcome whose Reply is a view.
func (d *decoder) outcome() (o storage.Outcome) {
	copy(o.ID[:], d.take(len(o.ID)))
	copy(o.Fingerprint[:], d.take(len(o.Fingerprint)))
	o.Reply = d.take(d.count(1))
	return o
}

// groupLength reads the header of a group from its first block and returns how
// long the group is in all.
func groupLength(first []byte) (int, error) {
	if len(first) < groupHeader {
		return 0, fmt.Errorf("%w: a group shorter than its header", errMalformed)
	}
	return groupHeader + int(binary.BigEndian.Uint32(first)), nil
}

// A visitor is told what a group holds, in its order. What it does not care for
// is nil. Everything that it is given is a view into the group.
type visitor struct {
	outcome func(offset int, o storage.Outcome) // the offset is in the group
	event   func(name string, e storage.Event, encoded []byte)
	forget  func(name string)
}

// decodeGroup checks a whole group and shows it to v, and returns the clocks of
// its Update. If v wants outcomes only, the rest is not decoded.
func decodeGroup(position uint64, g []byte, v visitor) (storage.Instant, error) {
	if n, err := groupLength(g); err != nil || n != len(g) {
		return storage.Instant{}, fmt.Errorf("%w: a group of %d bytes claims %d", errMalformed, len(g), n)
	}
	if binary.BigEndian.Uint32(g[4:]) != checksumAt(blockKey(position), g[groupHeader:]) {
		return storage.Instant{}, fmt.Errorf("%w: a group's checksum is wrong", errMalformed)
	}
	d := decoder{b: g[groupHeader:]}
	now := d.clocks()
	for range d.count(outcomeMin) {
		offset := len(g) - len(d.b)
		if o := d.outcome(); !d.bad && v.outcome != nil {
			v.outcome(offset, o)
		}
	}
	if v.event == nil && v.forget == nil && !d.bad {
		return now, nil
	}
	for range d.count(changeMin) {
		name, before := d.name(), d.b
		e := d.event(name)
		if !d.bad && v.event != nil {
			v.event(name, e, before[:len(before)-len(d.b)])
		}
	}
	for range d.count(2) {
		if name := d.name(); !d.bad && v.forget != nil {
			v.forget(name)
		}
	}
	if d.bad || len(d.b) != 0 {
		return storage.Instant{}, fmt.Errorf("%w: a group does not decode", errMalformed)
	}
	return now, nil
}
