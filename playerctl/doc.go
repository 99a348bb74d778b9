// Command playerctl plays: it finds a room by name, joins it as a player, carries what
// the player types there and shows what the room and the others in it say.
//
//	playerctl [--discovery HOST:PORT[,...]] [--plain] PLAYER ROOM
//
// On a terminal it shows a prompt with line editing and history, and messages
// appear above the line that is being typed. On a pipe it reads one command a
// line and writes plain lines, without a prompt and without escape codes.
//
// Exit status: 0 when the player has left (by exit, the end of the input,
// Ctrl-C, SIGTERM, or SIGHUP unless nohup has it ignored, with what they held dropped
// in the room) or when the room has closed; 1 when a room or the registry did not answer within 5 seconds, or
// refused, or when a signal came before the room was found; 2 when playerctl was
// called wrongly, a bad name included.
package main
