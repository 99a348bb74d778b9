// Package player plays in rooms: [Join] enters one, and the [Session] that it
// returns is the player's stay there.
//
// UDP loses, repeats and reorders. A command is sent again, the same bytes at
// growing intervals, until its reply has come or [client.Timeout] is over; it
// bears an id, so that the room carries it out once, and what the room says by
// itself bears a number, so that it is told once and in order. A refusal to let
// the player in is a [*foyer.Error], silence a [*client.NoAnswerError].
//
// A room that answers a tagged join without tags speaks only the plain dialect,
// and the session goes on in that. There a reply can only be told from a message
// by its text, and what must not be done twice is sent once. docs/protocol.md is
// the reference for both dialects.
package player
