package wire_test

import (
	"os"
	"strings"
	"testing"

	"foyer"
	"foyer/wire"
)

// TestWords: what rooms say is what docs/protocol.md says.
func TestWords(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := strings.Join(strings.Fields(string(page)), " ") // lines are broken within texts
	for _, text := range []string{
		wire.InvalidCommand, wire.NotHere, wire.Goodbye, wire.Disconnect,
		wire.EmptyRoom, wire.InThisRoom + "is:", wire.InThisRoom + "are:",
		"ITEM" + wire.Taken, "ITEM" + wire.CannotTake, "ITEM" + wire.Dropped, wire.NoSpaceHere + "ITEM",
		wire.YouSaid + "TEXT" + wire.EndOfSaying, wire.SayWhat, wire.TooLong, wire.TooFast,
		wire.CannotJoin, "Alice" + wire.IsHere, wire.AlreadyHere + "Alice", wire.RoomFull, wire.TooMany,
		"NAME" + wire.Entered, "NAME" + wire.LeftGame, "NAME" + wire.LeftHeading + "north.", "NAME" + wire.Said + "TEXT" + wire.EndOfSaying,
		wire.CannotGo(foyer.North),
	} {
		if !strings.Contains(reference, "`"+text+"`") {
			t.Errorf("docs/protocol.md does not have `%s`", text)
		}
	}
	for _, d := range foyer.Directions() {
		if !strings.Contains(reference, "`"+d.String()+"`") {
			t.Errorf("docs/protocol.md does not have `%s`", d)
		}
	}
}
