// Package player plays in rooms. [Join] enters one whose address is known, and the
// [Session] that it returns is the player's stay there: commands and replies, and
// what the room says by itself. A [Player] walks: it looks rooms up by name, goes
// through their exits, and comes back where it was if there is no getting in.
//
// UDP loses, repeats and reorders. A command is sent again, the same bytes at
// growing intervals, until its reply has come or [client.Timeout] is over; it
// bears an id, so that the room carries it out once, and what the room says by
// itself bears a number, so that it is told once and in order. A refusal to let
// the player in is a [*foyer.Error], to be told apart with [errors.Is] and
// [errors.As]; silence is a [*client.NoAnswerError].
//
// A room that answers a tagged join without tags speaks only the plain dialect,
// and the session goes on in that. There a reply can only be told from a message
// by its text, and what must not be done twice is sent once. docs/protocol.md is
// the reference for both dialects.
package player
