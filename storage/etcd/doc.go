// Package etcd is the [storage.Shared] in an etcd cluster: any number of registries, all
// equal, each with the whole state in its memory, answer for one world. It is a
// [engine.SharedLog] under a prefix of the cluster's keys.
//
// # Keys
//
// Numbers in keys are 16 hexadecimal digits, in values big-endian.
//
//	PREFIX/head              version 1 byte | chain 8 | end 8 | length 1, turn | State
//	PREFIX/log/POSITION      0 | chain 8 | group
//	                         1 | chain 8 | length 8 | random 8: the group is in parts, at
//	PREFIX/log/POSITION.RANDOM/N
//	PREFIX/snapshot          name 8 | position from which the log is needed 8 | chunks 8 | summary
//	PREFIX/snapshots/NAME/N  a chunk of the pieces, which are, one behind the other:
//	                         length 4, key | length 4, value
//	PREFIX/registries/ID     what the registry ID tells the others, see Member; gone with its lease
//	PREFIX/queue/ID          the registry ID waits for its turn to append
//
// The group at a position and the head that goes with it are put in one etcd transaction,
// which compares the head with what this process knows of it: whoever comes second is
// given the groups that it has missed instead. The chain of a group is a hash over it and
// all before; a cluster that was restored from a backup has another one at the same
// position, or none, and the error is then [storage.ErrDiverged].
//
// # Turns
//
// A registry that came second says under queue that it waits, and who appends passes the
// turn on: to the registry, of those that wait, whose id comes next after its own, round
// and round. While somebody else has the turn nobody appends; a turn that is not used
// within turnTime is taken over.
//
// # Bounds
//
// A group is at most some MiB, as discovery makes them. The log is kept for
// [storage.OutcomeRetention], and up to the last snapshot, maxLog bytes at most; if it were
// longer nothing is appended. A snapshot is written when the log behind the last one is
// longer than that and saveAfter; there are never more than two, and what is being written.
// The oldest registry writes them, deletes what is not needed any more, and has etcd forget the
// history of keys once a minute, but for the last minute, unless the address says compact=off. This process
// keeps the last cacheBytes of the log in memory, and 24 bytes for each group.
package etcd
