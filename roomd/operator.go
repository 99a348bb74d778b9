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

// operate carries out the commands of whoever runs the room, one a line. The
// end of the input is not the end of the room: a room in the background has
// none.
func operate(in io.Reader, out io.Writer, server *room.Server, quit func()) {
	lines := bufio.NewScanner(in) // of lines up to 64 KiB
	for lines.Scan() {
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "":
		case "look":
			fmt.Fprintln(out, server.Summary())
		case "players":
			var all strings.Builder // one write: the whole list is shown, or none of it
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
