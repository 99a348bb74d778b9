// Command roomd serves one room of the world: it opens a UDP port that the
// system chooses, registers the room, keeps the registration alive, and serves
// players until it is told to stop.
//
// On SIGINT, SIGTERM or the operator's "quit" it tells its players, deregisters
// the room and exits with status 0. It exits with status 1 when it cannot
// register the room, when another room has taken over the name, or when the
// registry refuses to deregister it or does not answer; and with status 2 on
// wrong usage. The reason is one line on standard error.
//
// The room's key and a lock are in the folder --state. Roomd refuses a folder,
// key or lock that belongs to somebody else or that others may change, and a
// key or lock that is a link.
//
// While the registry is silent the room goes on, and when the registry no
// longer knows the room it is registered again. What happens in the room, what is
// said there included, is logged to standard error. See docs/protocol.md, "Leases"
// and "Ownership".
package main
