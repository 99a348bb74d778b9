// Command playerctl is a player's client: it finds a room by name, joins it,
// sends it what the player types, and shows what the room and the others in it
// say.
//
//	playerctl [--discovery HOST:PORT[,...]] [--plain] PLAYER ROOM
//
// On a terminal it shows a prompt with line editing and history, and messages
// appear above the line that is being typed. On a pipe it reads one command per
// line and writes plain lines, without prompt or escape codes.
//
// Exit status: 0 when the player has left (by exit, the end of the input,
// Ctrl-C, SIGTERM, or SIGHUP unless nohup ignores it), which drops what they
// held in the room, or when the room has closed; 1 when a room or the registry
// did not answer within 5 seconds, or refused, or when a signal came before the
// room was found; 2 on wrong usage, including an invalid name.
package main
