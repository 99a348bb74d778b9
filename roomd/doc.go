// Command roomd serves one room of the world: it takes a UDP port that the system
// chooses, registers the room's name with the registry, keeps the registration
// alive, and serves players until it is told to stop.
//
// It ends with status 0 when SIGINT, SIGTERM or the operator's "quit" stopped it
// and it has told its players and ended its registration; with status 1 when
// it cannot register, when the registration has gone to another room, or when
// the registry refuses to end it or does not answer; and with status 2 when it
// was called wrongly. The reason is one line on standard error.
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
