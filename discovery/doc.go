// Package discovery is the registry's service: it answers requests over UDP
// from a [storage.Store] and decides what changes there.
//
// A datagram is an exchange, which is passed on by pointer. Its lines are parsed when
// they are needed, 16 at a time at most. It ends where it is answered:
//
//	socket
//	  │
//	readLoop ── takeIn ──► answer: LOOKUP and RENEW, from memory ──► sent
//	              │
//	              ├─ signed ───► verifyLoop: judge, answer ──► reply
//	              │                  │
//	              └─ unsigned ─► queue ─► writeLoop: gather, commit ──► reply
//
// A LOOKUP or RENEW is answered from memory if the lines before it and, for a RENEW, the
// lease allow that; otherwise the writer answers it, in its turn.
//
// The reader never waits for anything but the socket, and briefly for the writer's turn
// at it: before it commits, the writer calls takeIn itself. A verifier checks the
// signatures of a whole datagram, so that a flood of them does not take the
// reader's time. The writer is one goroutine: it carries out whatever is waiting in one
// transaction (group commit) and replies when that is durable. Where a queue is full, or
// the store cannot be written, refuseRest answers the rest of a datagram.
//
// What a transaction decides is in rules.go, with its bounds in quota.go and the
// operator's holds in evict.go; answer.go decides what needs no transaction, and
// verify.go what a signature is worth. exchange.go parses, replies.go gathers the
// replies. feed.go tells those who watch what has changed, changelog.go the operator.
//
// Leases live in memory, in a timing wheel on a clock of their own that stands
// still while the registry is down or stalled; what must survive a restart is
// in the store. docs/protocol.md is the contract with clients and
// docs/reliability.md says what is promised under which faults.
package discovery
