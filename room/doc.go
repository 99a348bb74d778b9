// Package room serves a room of package world to players over one UDP
// socket, in the plain and in the tagged dialect of docs/protocol.md, "Rooms".
//
// # Plain players
//
// A plain player is whoever sends from the address that joined. Requests and
// replies are bare text. A player silent for an hour has left; one silent for a
// minute gives way to a player of the same name from the same host, or to a
// tagged one from any; and one silent for five minutes gives way to anybody if
// the room is full.
//
// Where the dialect defines no reply, the room answers in words: "You cannot
// join: …", "Alice is already here", "You are already here as Alice", "The room
// is full", "There are too many players from where you are", "There is no space
// here for lamp", "That is too long to say", "That is too fast, try again in a
// moment", "you are not in this room".
//
// # Tagged players
//
// A tagged player is whoever knows the session id from the reply to join,
// whatever their address; the room sends to the address that it heard from
// last.
//
//	@id=U1 join Alice             @id=U1;code=bad-cookie;cookie=C NOTOK ask again…
//	@id=U1;cookie=C join Alice    @id=U1;sid=S OK Great Hall␤␤A long table…
//	@id=U2;sid=S take lamp        @id=U2 OK lamp taken
//	@id=U3;sid=S take lamp        @id=U3 NOTOK lamp cannot be taken in this room
//	                              @sid=S;ev=1 Bob entered the room.
//	@id=U4;sid=S;ack=1 say Hi     @id=U4 OK You said "Hi".
//	                              @sid=S;ev=2;lost=12 Bob said "Bye".
//	@sid=S;ack=2                  (no reply: nothing follows the tags)
//
// The texts are those of the plain dialect. OK says that the command was
// carried out; NOTOK that the thing cannot be taken, that there is no exit in
// that direction, no space for what is dropped, nothing to say, or no such
// command. Refusals that a program can act upon have a code:
//
//	bad-name         join: the player's name is not valid
//	name-taken       join: a player of that name is in the room
//	busy             join: there are too many players; or what others are told of comes
//	                 too fast; a retry may succeed
//	bad-cookie       the address may be forged: ask again with the tag cookie
//	unknown-session  no player in the room has this sid
//	id-reused        the id belongs to another request
//	stale-request    the id is older than those that the room still remembers
//	malformed        the tags cannot be read, or the id is missing
//	too-large        the datagram has more than 1,232 bytes
//
// A request takes effect at most once: its reply is recorded under its id and
// sent again for every retry. The last 32 replies of a session are kept, and
// the last of them, up to 1,232 bytes, for two minutes after the player has
// left. A join whose reply has been dropped is refused as stale-request. So is
// a version 7 id that is not recorded and not newer than the newest dropped
// one; the tag now then holds a time whose ids are accepted, for a client whose
// clock was set back. Refusals with code busy and those below it in the table
// are not recorded. What is kept of departed players is bounded per host and in
// all: see memory.
//
// What the room says by itself is numbered from 1, without gaps, for each
// session. The room sends it again, at intervals that grow from 200 ms to 1 s,
// until the player acknowledges it; an acknowledgement covers all numbers up to
// its own. Up to 32 are in flight at a time, and 224 may wait. Nobody waits for
// a player who is further behind: the oldest event that has not been sent yet
// is left out, and the tag lost of the next one says how many were. A tagged
// player silent for 30 s has left, and one silent for 15 s gives way to a
// player of the same name from the same host.
//
// What others are told is rate-limited: say to 10 a second per player and,
// beyond one a second for each player, to 20 a second per host; join to 20 a
// second per host.
//
// # Strangers
//
// A source address can be forged, and a room's summary is longer than the
// request for it. So a tagged request from an IP address that is not known to
// be the sender's is answered with a cookie, in at most three times its size,
// and nothing is done or stored until the cookie comes back. The plain dialect
// has no cookies. In it a room sends a host (an IPv4 address, or 64 bits of an
// IPv6 one) at most three times what came from there plus 32 KiB a second; the
// rest is dropped. Plain players who have sent nothing but a join share one
// such budget, whatever their hosts, and give way when the room is full.
// Loopback addresses are exempt: the system lets nobody forge them from
// outside.
//
// Strangers' datagrams that look like a reply are not answered, so that two
// servers cannot be made to answer each other for ever.
package room
