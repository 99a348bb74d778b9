package bolt

import (
	"encoding/binary"
	"fmt"

	"foyer"
	"foyer/storage"
)

// A record is what is known of one name, the value of the bucket of rooms.
//
//	record:        checksum of name and rest, 4 bytes | uvarint position | uvarint ending |
//	               1 | registration  or  0 |
//	               number of events, 1 byte | events, oldest first...
//	event:         as above, or 0x80 + kind if the rest follows from the registration:
//	               the same registration, at the time and from the address that it bears
//
// Most records hold a registration and the event that made it, which so takes
// one byte.
type record struct {
	position   uint64 // of the last group that the record includes
	ending     uint64 // the name's place among those that ended in that group
	registered bool
	current    foyer.Registration // its strings are views, see decoder.text
	history    [][]byte           // events as they are encoded, oldest first; views
}

const impliedEvent = 0x80

// appendImplied appends the event of a kind that follows from a registration.
func appendImplied(b []byte, k storage.Kind, r foyer.Registration) []byte {
	return appendEvent(b, storage.Event{Kind: k, Time: r.RegisteredAt, From: r.From, Registration: r})
}

func appendRecord(b []byte, name string, r *record) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, r.position)
	b = binary.AppendUvarint(b, r.ending)
	var implied []byte
	if r.registered {
		b = appendRegistration(append(b, 1), r.current)
		var buf [256]byte
		implied = appendImplied(buf[:0], 0, r.current)
	} else {
		b = append(b, 0)
	}
	b = append(b, byte(len(r.history)))
	for _, e := range r.history {
		if r.registered && string(e[1:]) == string(implied[1:]) {
			b = append(b, e[0]|impliedEvent)
		} else {
			b = append(b, e...)
		}
	}
	sealRecord(b[start:], name)
	return b
}

// sealRecord fills in the checksum of the record of name.
func sealRecord(b []byte, name string) {
	binary.BigEndian.PutUint32(b, checksumAt(viewBytes(name), b[4:]))
}

// How much of a record to decode. The checksum is of all of it, always.
type recordPart int

const (
	recordHead    recordPart = iota // when it ended, and whether it is registered
	recordCurrent                   // and the registration
	recordWhole                     // and the history
)

// decode decodes a part of the record of name.
func (r *record) decode(name string, b []byte, part recordPart) error {
	*r = record{history: r.history[:0]}
	if len(b) < 4 || binary.BigEndian.Uint32(b) != checksumAt(viewBytes(name), b[4:]) {
		return fmt.Errorf("%w: the checksum of the record of %q is wrong", errMalformed, name)
	}
	d := decoder{b: b[4:]}
	r.position, r.ending = d.uvarint(), d.uvarint()
	r.registered = d.byte() == 1
	if part >= recordCurrent && r.registered {
		r.current = d.registration(name)
	}
	if part == recordWhole {
		r.decodeHistory(name, &d)
	}
	if d.bad {
		return fmt.Errorf("%w: the record of %q does not decode", errMalformed, name)
	}
	return nil
}

func (r *record) decodeHistory(name string, d *decoder) {
	for range int(d.byte()) {
		if len(d.b) > 0 && d.b[0]&impliedEvent != 0 {
			kind := storage.Kind(d.byte() &^ impliedEvent)
			if !r.registered || !known(kind) {
				d.fail()
				return
			}
			r.history = append(r.history, appendImplied(nil, kind, r.current))
			continue
		}
		before := d.b
		d.event(name)
		r.history = append(r.history, before[:len(before)-len(d.b)])
	}
	if len(d.b) != 0 || len(r.history) > storage.HistoryPerName {
		d.fail()
	}
}
