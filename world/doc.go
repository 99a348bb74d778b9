// Package world is a room as a game: who is in it, what lies in it, where its
// exits lead, and what each command tells the player who gave it and the
// others. It knows no sockets and no time. Package room carries its words to the
// players; they are those of docs/protocol.md, "Rooms: the plain dialect", and
// stand in package wire.
//
// A [Room] is not for several goroutines at once. Everything in it is bounded:
// see [MaxPlayers] and [MaxThings]; and no text that it returns is longer than
// [MaxText].
//
// The names of players and things keep the rules of rooms' names
// ([foyer.ParseName]): 1 to 255 bytes of UTF-8 without control characters,
// compared exactly.
package world
