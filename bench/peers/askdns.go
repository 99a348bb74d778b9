//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"foyer/internal/load"
)

// dnsAsker asks for the SRV records of random rooms.
type dnsAsker struct {
	*asker
	slots [][]dnsSlot // by client
	out   [][]byte
}

// A dnsSlot is a question in flight. Its id is the slot's number in the last
// four bits, and before that how often the slot was used.
type dnsSlot struct {
	id       uint16
	question []byte
	sent     time.Time // zero when it was answered
}

func newDNS(a *asker) *dnsAsker {
	d := &dnsAsker{asker: a, slots: make([][]dnsSlot, a.clients)}
	for client := range d.slots {
		d.slots[client] = make([]dnsSlot, min(a.window, 16))
		for i := range d.slots[client] {
			d.slots[client][i].id = uint16(i)
		}
	}
	return d
}

// send asks a new question in each free slot.
func (d *dnsAsker) send(client int, now time.Time) {
	d.out = d.out[:0]
	for i := range d.slots[client] {
		s := &d.slots[client][i]
		if !s.sent.IsZero() {
			if now.Sub(s.sent) < lossTimeout {
				continue
			}
			d.lost++
		}
		s.id += 16
		s.sent = now
		s.question = appendQuestion(s.question[:0], s.id, rand.Uint64N(d.names))
		d.out = append(d.out, s.question)
	}
	if len(d.out) > 0 {
		d.sockets.Send(client, d.out) // what is lost will be counted as such
	}
}

// take counts answers; each must have a record.
func (d *dnsAsker) take(client int, answers [][]byte, now time.Time) error {
	slots := d.slots[client]
	for _, data := range answers {
		if len(data) < 12 {
			return fmt.Errorf("an answer of %d bytes", len(data))
		}
		id := binary.BigEndian.Uint16(data)
		i := int(id % 16)
		if i >= len(slots) || slots[i].id != id || slots[i].sent.IsZero() {
			continue // of a question that was given up
		}
		// RFC 1035, section 4.1.1: the code of the answer, and how many records it has.
		if code, records := data[3]&0xf, binary.BigEndian.Uint16(data[6:]); code != 0 || records == 0 {
			return fmt.Errorf("an answer with code %d and %d records", code, records)
		}
		d.answered(1, now.Sub(slots[i].sent))
		slots[i].sent = time.Time{}
	}
	return nil
}

// questionEnd is what follows the room's name in a question: the labels of
// domain, the root; SRV; IN.
var questionEnd = "\x05rooms\x04test\x00" + "\x00\x21\x00\x01"

// appendQuestion appends a query for the SRV records of room n (RFC 1035,
// section 4.1; RFC 2782).
func appendQuestion(dst []byte, id uint16, n uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) // a standard query with one question
	at := len(dst)
	dst = load.AppendName(append(dst, 0), n)
	dst[at] = byte(len(dst) - at - 1)
	return append(dst, questionEnd...)
}
