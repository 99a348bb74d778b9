// Package discovery is the registry's service: it answers requests over UDP
// from a [storage.Store] and decides what changes there.
//
// A datagram is an exchange, which is passed on by pointer and whose lines are
// each read once. It ends where it is answered:
//
//	socket
//	   │
//	readLoop ── takeIn ──► answer: LOOKUP and RENEW, from memory ──► sent
//	   │           │
//	   │        verifyLoop: judge, answer ──► reply
//	   │           │
//	writeLoop ◄────┘  gather, commit: REGISTER and DEREGISTER ──► reply
//
// The reader never waits for anything but the socket. A verifier checks the
// signatures of a whole datagram, so that a flood of them does not take the
// reader's time. The writer is one goroutine: it takes whatever is waiting, in
// the queue and by takeIn also in the sockets, carries it out in one transaction
// (group commit) and replies when that is durable. Where a queue is full, or the
// store cannot be written, refuseRest answers the rest of a datagram. All rules,
// who may register what and who gets what answer, are in rules.go and see the
// store only through a transaction.
//
// Leases live in memory, in a timing wheel on a clock of their own that stands
// still while the registry is down or stalled; what must survive a restart is
// in the store. docs/protocol.md is the contract with clients and
// docs/reliability.md says what is promised under which faults.
package discovery
