package bolt

import (
	"encoding/binary"
	"fmt"

	"foyer/storage"
)

// The buckets, and the key of the state in the last of them.
var (
	bucketLog   = []byte("log")   // block number -> block of a group
	bucketRooms = []byte("rooms") // name -> record
	bucketMeta  = []byte("meta")
	keyFormat   = []byte("format") // format version, 4 bytes
	keyState    = []byte("state")
)

// The versions of the format. This package opens every older one and refuses
// newer ones.
const (
	formatFirst = 1 // what a new file has
	formatHolds = 2 // since the first name was held

	formatVersion = formatHolds
)

// state is what a transaction leaves behind beside the log and the rooms. It is
// rewritten with each; that costs nothing, since the page that it is in holds
// the roots of the buckets as well.
//
//	state: checksum of the rest, 4 bytes | tail | head | outcomes | folded |
//	       records | digest | registered, 8 bytes each | clocks
type state struct {
	tail     uint64 // the block after the last one
	head     uint64 // the first block that is still there
	outcomes uint64 // the first group whose outcomes may still be asked for
	folded   uint64 // the first group that may hold changes not yet in the rooms

	// records counts the records of rooms and digest is the sum of their
	// checksums. Together they tell when a damaged page has lost some of them,
	// or shows some as they were long ago.
	records uint64
	digest  uint64

	registered uint64 // names

	last storage.Instant // what the latest Update was given
}

// live is the first block that is of use.
func (s *state) live() uint64 { return min(s.outcomes, s.folded) }

func (s *state) append(b []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, v := range []uint64{s.tail, s.head, s.outcomes, s.folded, s.records, s.digest, s.registered} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = appendClocks(b, s.last)
	binary.BigEndian.PutUint32(b[start:], checksumAt(keyState, b[start+4:]))
	return b
}

func decodeState(b []byte) (s state, err error) {
	if len(b) < 4+7*8 || binary.BigEndian.Uint32(b) != checksumAt(keyState, b[4:]) {
		return state{}, fmt.Errorf("%w: the checksum of the state is wrong", errMalformed)
	}
	d := decoder{b: b[4:]}
	for _, v := range []*uint64{&s.tail, &s.head, &s.outcomes, &s.folded, &s.records, &s.digest, &s.registered} {
		*v = binary.BigEndian.Uint64(d.take(8))
	}
	s.last = d.clocks()
	if d.bad || len(d.b) != 0 || s.head > s.live() || max(s.outcomes, s.folded) > s.tail {
		return state{}, fmt.Errorf("%w: the state does not decode", errMalformed)
	}
	return s, nil
}

// counted takes a record into the digest, uncounted out of it.
func (s *state) counted(record []byte) {
	s.records++
	s.digest += uint64(binary.BigEndian.Uint32(record))
}

func (s *state) uncounted(record []byte) {
	s.records--
	s.digest -= uint64(binary.BigEndian.Uint32(record))
}
