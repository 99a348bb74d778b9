// Package discovery is the registry's service: it answers requests over UDP
// from a [storage.Store] and decides what changes there.
//
// A datagram takes the shortest way that its lines allow:
//
//	socket ──► reader ──► LOOKUP, RENEW: answered at once, from memory
//	             │
//	             ├──► verifiers: signatures, on goroutines of their own
//	             │        │
//	             └────────┴──► writer: REGISTER, DEREGISTER
//
// The reader never waits for anything but the socket. The verifiers keep a
// flood of signatures from taking the reader's time. The writer is one
// goroutine: it takes whatever is waiting, carries it out in one transaction
// (group commit) and answers when that is durable. All rules, who may register
// what and who gets what answer, are in rules.go and see the store only through
// a transaction.
//
// Leases live in memory, in a timing wheel on a clock of their own that stands
// still while the registry is down or stalled; what must survive a restart is
// in the store. docs/protocol.md is the contract with clients and
// docs/reliability.md says what is promised under which faults.
package discovery
