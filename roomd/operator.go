package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"foyer/room"
)

const operatorHelp = `look     what lies in the room and who is there
players  who is there
quit     close the room
`

// operate carries out the operator's commands, one per line. The end of the
// input does not end the room: a room in the background has no input.
func operate(in io.Reader, out io.Writer, server *room.Server, quit func()) {
	lines := bufio.NewScanner(in) // of lines up to 64 KiB
	for lines.Scan() {
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "":
		case "look":
			fmt.Fprintln(out, server.Summary())
		case "players":
			var all strings.Builder // written at once, so that the list is shown whole or not at all
			for _, name := range server.Players() {
				fmt.Fprintln(&all, name)
			}
			io.WriteString(out, all.String())
		case "quit", "exit":
			quit()
			return
		case "help":
			io.WriteString(out, operatorHelp)
		default:
			fmt.Fprintln(out, "Invalid command, try help")
		}
	}
}
