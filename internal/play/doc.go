// Command play opens a sample world for one player: it starts a registry on a new
// database in a temporary folder and a room server for each room of a world
// file, puts the player into the first room, and stops everything when the
// player has left.
//
//	play [-bin DIR] [-player NAME] WORLD
//
// It is what `make play` runs. The player's program has the terminal, or the
// pipe, to itself; the exit status is its exit status, or 1 if the world could
// not be opened. Ctrl-C and SIGTERM end the player's visit first, then the
// rooms and then the registry. Nothing is left behind.
package main
