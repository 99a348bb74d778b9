// Package engine is the [storage.Store] that every backend shares: the state in memory, transactions, and the groups and
// the snapshot from which the state is loaded. A backend provides a [Log], which keeps those.
//
// # The log and the state
//
// A registration has to be durable before it is answered, and names come in no order. Written where it belongs in a tree of
// a million names, each would cost a page or more. So what an Update changes becomes one group (group.go), which is
// appended to the log (log.go). When that is durable, the state in memory changes and Update returns (update.go). A running
// Update is in tx.go, what is read without one in store.go, and how all of it is encoded in codec.go.
//
// The state is a function of the groups: the same ones give the same state on every machine. A snapshot (snapshot.go) lets
// older ones go. The log is kept from the first group that is not wholly in the snapshot, or whose outcomes may still be
// asked for.
//
// Groups and pieces of the snapshot bear checksums that include their place, and the state kept with each group counts the
// pieces and sums their checksums: what was damaged, lost or put back is noticed on opening (load.go).
//
// # The memory
//
// All that is known of a name is one entry (entry.go): its registration, its history, the hold on it. Entries lie side by
// side in chunks (arena.go), found by name and by address (index.go) and in the order of names (order.go). Outcomes stay in
// the log; an index has their positions (outcomes.go). None of it has pointers for the garbage collector to follow, except
// for one to every hundred names or so. Find reads the index of names without waiting for anything.
package engine
