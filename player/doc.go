// Package player plays in rooms. [Join] enters one whose address is known, and
// the [Session] that it returns is the player's stay there: commands and
// replies, and what the room says by itself. A [Player] walks: it looks rooms
// up by name, goes through their exits, and goes back if the next room cannot
// be entered.
//
// UDP loses, repeats and reorders. A command is sent again, the same bytes at
// growing intervals, until its reply arrives or [client.Timeout] is over. It
// has an id, so that the room carries it out once, and what the room says by
// itself is numbered, so that it is told once and in order. A refusal to let
// the player in is a [*foyer.Error], which [errors.Is] compares with the
// sentinels of package foyer; silence is a [*client.NoAnswerError].
//
// A room that answers a tagged join without tags speaks only the plain dialect,
// and the session switches to that. There a reply can be told from a message
// only by its text, and commands that must not be carried out twice are sent
// once. docs/protocol.md is the reference for both dialects.
package player
