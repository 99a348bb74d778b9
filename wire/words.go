package wire

import "foyer"

// What rooms say, in the plain dialect and behind OK and NOTOK in the tagged
// one. docs/protocol.md, "Rooms: the plain dialect", says when.
const (
	InvalidCommand = "Invalid command"
	NotHere        = "you are not in this room"
	Goodbye        = "Goodbye"
	Disconnect     = "disconnect"

	// Of the summary, behind name and description.
	EmptyRoom  = "The room is empty."
	InThisRoom = "In this room, there " // "is:" or "are:", and a line for each thing

	// With the name of an item behind or before them.
	Taken       = " taken"
	CannotTake  = " cannot be taken in this room"
	Dropped     = " dropped"
	NoSpaceHere = "There is no space here for "

	// To who says something; behind YouSaid it is repeated, up to EndOfSaying.
	YouSaid     = `You said "`
	EndOfSaying = `".`
	SayWhat     = "What did you want to say?"
	TooLong     = "That is too long to say"
	TooFast     = "That is too fast, try again in a moment"

	// To who cannot join: a reason behind CannotJoin, a player's name before
	// IsHere and behind AlreadyHere.
	CannotJoin  = "You cannot join: "
	IsHere      = " is already here"
	AlreadyHere = "You are already here as "
	RoomFull    = "The room is full"
	TooMany     = "There are too many players from where you are"

	// To the others, with the name of a player before them; Said goes on as
	// YouSaid does, LeftHeading with a direction and a full stop.
	Entered     = " entered the room."
	LeftGame    = " left the game."
	LeftHeading = " left the room, heading "
	Said        = ` said "`
)

// CannotGo returns what a room says where it has no exit.
func CannotGo(d foyer.Direction) string { return "You cannot go " + d.String() + " from this room." }
