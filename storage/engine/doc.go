// Package engine is the [storage.Store] that every backend shares: the state in memory, transactions, and the groups and
// the snapshot from which the state is loaded. A backend provides a [Log], which keeps those.
//
// # The log and the state
//
// A registration has to be durable before it is answered, and names come in no order. Written where it belongs in a tree
// of a million names, each would cost a page or more. So the state is in memory, and what an Update changes becomes one
// group (group.go), which is appended to the log. When that is durable, the state changes and Update returns.
//
// The state is a function of the groups: the same ones give the same state on every machine. A snapshot (snapshot.go)
// lets older ones go. The log is kept from the first group that is not in the snapshot altogether, or whose outcomes may
// still be asked for.
//
// Groups and pieces of the snapshot bear checksums that include their place, and the state that goes with each group
// counts the pieces and sums their checksums up: what was damaged, lost or put back is noticed on opening (load.go).
//
// # The memory
//
// All that is known of a name is one entry (entry.go): its registration, its history, the hold on it. Entries lie side by
// side in large chunks (arena.go), which are emptied when little of them is in use. An index finds them by name and
// another by address (index.go); the order of names (order.go) is for List and the snapshot. An index of outcomes
// (outcomes.go) holds their positions in the log, where they stay. None of it has pointers for the garbage collector to
// follow, but for one to each few hundred names. Find reads the first index without waiting for anything.
package engine
