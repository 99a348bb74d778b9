// Package world is a room as a game: who is in it, what lies in it, where its
// exits lead, and what each command tells the player who gave it and the
// others. It knows nothing of sockets or time. Package room delivers its texts
// to the players; they are specified in docs/protocol.md, "Rooms: the plain
// dialect", and defined in package wire.
//
// A [Room] must not be used by several goroutines at once. Everything in it is
// bounded, see [MaxPlayers] and [MaxThings], and no text that it returns is
// longer than [MaxText].
//
// The names of players and things follow the rules of rooms' names
// ([foyer.ParseName]): 1 to 255 bytes of UTF-8 without control characters,
// compared exactly.
package world
