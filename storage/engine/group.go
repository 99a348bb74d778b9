package engine

import (
	"encoding/binary"
	"iter"
	"strconv"

	"foyer/storage"
)

// A group is all that one Update changed.
//
//	group:  checksum of position and rest, 4 bytes | length of the body, 4 bytes | body
//	body:   clocks | uvarint length of the outcomes | outcomes... | entries...
//
// An entry takes the place of the one with its name; one that says nothing takes it away. So a group may be carried out
// on a state that has it already, if those that follow are as well. Fixed numbers are big-endian.
type group struct {
	at         storage.Instant
	outcomesAt uint64 // position of the outcomes
	outcomes   []byte
	entries    []byte
}

const groupHeader = 8

// groupPlace is what the checksum of the group at a position is bound to.
func groupPlace(position uint64) string { return "the group at " + strconv.FormatUint(position, 10) }

// append appends g, which is to be at a position, and sets outcomesAt.
func (g *group) append(b []byte, position uint64) []byte {
	start := len(b)
	b = appendClocks(append(b, make([]byte, groupHeader)...), g.at)
	b = binary.AppendUvarint(b, uint64(len(g.outcomes)))
	g.outcomesAt = position + uint64(len(b)-start)
	b = append(append(b, g.outcomes...), g.entries...)
	binary.BigEndian.PutUint32(b[start+4:], uint32(len(b)-start-groupHeader))
	seal(groupPlace(position), b[start:])
	return b
}

// groupLength reads the header of a group and returns how long it is in all.
func groupLength(header []byte) uint64 {
	return groupHeader + uint64(binary.BigEndian.Uint32(header[4:]))
}

// decodeGroup checks a whole group. What it returns are views.
func decodeGroup(position uint64, b []byte) (g group, err error) {
	if err := unseal(groupPlace(position), b); err != nil {
		return g, err
	}
	d := decoder{b: b[groupHeader:]}
	g.at = d.clocks()
	n := d.uvarint()
	g.outcomesAt = position + uint64(len(b)-len(d.b))
	g.outcomes = d.take(n)
	g.entries = d.b
	if d.bad {
		return g, malformed("the group at %d does not decode", position)
	}
	return g, nil
}

func (g *group) eachOutcome() iter.Seq2[uint64, storage.Outcome] {
	return func(yield func(uint64, storage.Outcome) bool) {
		for d := (decoder{b: g.outcomes}); len(d.b) > 0; {
			at := g.outcomesAt + uint64(len(g.outcomes)-len(d.b))
			if o := d.outcome(); d.bad || !yield(at, o) {
				return
			}
		}
	}
}

// state is what a log keeps beside groups and pieces.
//
//	state:  checksum of the rest, 4 bytes | the fields of counters, 8 bytes each | clocks
type state struct {
	counters
	last storage.Instant // what the latest Update was given
}

type counters struct {
	End      uint64 // of the log
	Outcomes uint64 // the first group whose outcomes may still be asked for
	Snapshot uint64 // the first group that may have changes that no piece has

	// Pieces counts the pieces and Digest is the sum of their checksums. Together they tell when a piece was lost, or is
	// as it was long ago.
	Pieces, Digest uint64

	Registered uint64 // names
}

func (s *state) encode() []byte {
	b, _ := binary.Append(make([]byte, 4), binary.BigEndian, &s.counters)
	b = appendClocks(b, s.last)
	seal("the state", b)
	return b
}

func decodeState(b []byte) (s state, err error) {
	if err := unseal("the state", b); err != nil {
		return s, err
	}
	n, err := binary.Decode(b[4:], binary.BigEndian, &s.counters)
	if err == nil {
		d := decoder{b: b[4+n:]}
		s.last = d.clocks()
		if d.bad || len(d.b) > 0 || max(s.Outcomes, s.Snapshot) > s.End {
			err = malformed("the state does not decode")
		}
	}
	return s, err
}
