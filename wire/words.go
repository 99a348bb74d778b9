package wire

import "foyer"

// What rooms say: in the plain dialect as it is, in the tagged one after OK or
// NOTOK. docs/protocol.md, "Rooms: the plain dialect", says when.
const (
	InvalidCommand = "Invalid command"
	NotHere        = "you are not in this room"
	Goodbye        = "Goodbye"
	Disconnect     = "disconnect"

	// In the summary, after name and description.
	EmptyRoom  = "The room is empty."
	InThisRoom = "In this room, there " // "is:" or "are:", and a line for each thing

	// Before or after the name of an item.
	Taken       = " taken"
	CannotTake  = " cannot be taken in this room"
	Dropped     = " dropped"
	NoSpaceHere = "There is no space here for "

	// To the player who says something: YouSaid, what was said, EndOfSaying.
	YouSaid     = `You said "`
	EndOfSaying = `".`
	SayWhat     = "What did you want to say?"
	TooLong     = "That is too long to say"
	TooFast     = "That is too fast, try again in a moment"

	// To a player who cannot join: CannotJoin and a reason; a player's name and
	// IsHere; AlreadyHere and a player's name.
	CannotJoin  = "You cannot join: "
	IsHere      = " is already here"
	AlreadyHere = "You are already here as "
	RoomFull    = "The room is full"
	TooMany     = "There are too many players from where you are"

	// To the others, after the name of a player. What was said and EndOfSaying
	// follow Said; a direction and a full stop follow LeftHeading.
	Entered     = " entered the room."
	LeftGame    = " left the game."
	LeftHeading = " left the room, heading "
	Said        = ` said "`
)

// CannotGo returns what a room says when it has no exit in that direction.
func CannotGo(d foyer.Direction) string { return "You cannot go " + d.String() + " from this room." }
