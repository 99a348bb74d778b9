package bolt

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
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
