package bolt

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// readGroup returns the group at a position. It may be a view that is valid
// until the transaction ends.
func readGroup(log *bbolt.Bucket, position uint64) ([]byte, error) {
	g, err := groupAt(log.Cursor(), position)
	if err != nil {
		return nil, damaged(err)
	}
	return g, nil
}

// groupAt puts the blocks of a group together. It leaves the cursor on the last
// of them.
func groupAt(c *bbolt.Cursor, position uint64) ([]byte, error) {
	k, first := c.Seek(blockKey(position))
	return joinBlocks(c, position, k, first)
}

// joinBlocks is groupAt for a cursor that stands on the first block.
func joinBlocks(c *bbolt.Cursor, position uint64, k, first []byte) ([]byte, error) {
	if !isBlock(k, position) {
		return nil, fmt.Errorf("%w: block %d of the log is missing", errMalformed, position)
	}
	size, err := groupLength(first)
	if err != nil || size <= len(first) {
		return first, err
	}
	g := slices.Clone(first) // grows only as far as there are blocks
	for n := position + 1; len(g) < size; n++ {
		k, block := c.Next()
		if !isBlock(k, n) || len(block) == 0 {
			return nil, fmt.Errorf("%w: block %d of the log is missing", errMalformed, n)
		}
		if n == position+1 && size <= 1<<20 {
			g = slices.Grow(g, size-len(g))
		}
		g = append(g, block...)
	}
	return g, nil
}

func isBlock(k []byte, n uint64) bool { return len(k) == 8 && binary.BigEndian.Uint64(k) == n }

// outcomeAt returns the outcome that begins at an offset in a block. It does not
// read the rest of the group, however large that is, nor the checksum over all of
// it: opening has. The Reply may be a view that is valid until the transaction ends.
func outcomeAt(log *bbolt.Bucket, block uint64, offset int) (storage.Outcome, error) {
	c := log.Cursor()
	k, b := c.Seek(blockKey(block))
	if !isBlock(k, block) || offset >= len(b) {
		return storage.Outcome{}, damaged(fmt.Errorf("%w: block %d of the log", errMalformed, block))
	}
	for b = b[offset:]; ; {
		d := decoder{b: b}
		if o := d.outcome(); !d.bad {
			return o, nil
		}
		block++
		k, next := c.Next()
		if !isBlock(k, block) {
			return storage.Outcome{}, damaged(fmt.Errorf("%w: block %d of the log", errMalformed, block))
		}
		b = slices.Concat(b, next)
	}
}

// clocksAt returns the clocks of the group at a position and where the next one is.
func clocksAt(log *bbolt.Bucket, position uint64) (at storage.Instant, next uint64, err error) {
	k, first := log.Cursor().Seek(blockKey(position))
	size, err := groupLength(first)
	if !isBlock(k, position) || err != nil {
		return at, 0, damaged(fmt.Errorf("%w: block %d of the log", errMalformed, position))
	}
	d := decoder{b: first[groupHeader:]}
	if at = d.clocks(); d.bad {
		return at, 0, damaged(fmt.Errorf("%w: the clocks of group %d of the log", errMalformed, position))
	}
	return at, position + blocks(size), nil
}

// eachGroup calls yield with the groups from a position to the end of the log,
// in order. A group may be a view into the transaction.
func eachGroup(btx *bbolt.Tx, from, tail uint64, yield func(position uint64, g []byte) error) error {
	if from >= tail {
		return nil
	}
	c := btx.Bucket(bucketLog).Cursor()
	k, first := c.Seek(blockKey(from))
	for position := from; position < tail; k, first = c.Next() {
		g, err := joinBlocks(c, position, k, first)
		if err != nil {
			return err
		}
		if err := yield(position, g); err != nil {
			return err
		}
		position += blocks(len(g))
	}
	return nil
}
