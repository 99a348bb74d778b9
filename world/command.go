package world

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"foyer"
)

// A Verb is what a command asks for.
type Verb uint8

// The verbs. Invalid stands for anything that is not a command.
const (
	Invalid Verb = iota
	Join
	Look
	Take
	Drop
	Say
	Go
	Exit
)

// A Command is what a player wants to do.
type Command struct {
	Verb Verb

	// Text is the player's name for Join, the thing's name for Take and Drop,
	// what is said for Say (which may be nothing), and otherwise empty.
	Text string

	Direction foyer.Direction // for Go
}

// ParseCommand reads one datagram's text. The verb is case-insensitive; spaces
// and line endings around the command, and repeated spaces in a name, are
// ignored. Unknown verbs, missing or extra words, text that is not UTF-8 and
// control characters other than tabs make it Invalid.
func ParseCommand(text string) Command {
	text = strings.Trim(text, " \t\r\n")
	if !isText(text, "\t") {
		return Command{}
	}
	verb, rest := text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		verb, rest = text[:i], strings.TrimLeft(text[i:], " \t")
	}
	verb = strings.ToLower(verb)
	if named, ok := namedVerbs[verb]; ok {
		if rest == "" {
			return Command{}
		}
		return Command{Verb: named, Text: strings.Join(strings.Fields(rest), " ")}
	}
	if verb == "say" {
		return Command{Verb: Say, Text: rest}
	}
	if rest != "" {
		return Command{}
	}
	switch verb {
	case "look":
		return Command{Verb: Look}
	case "exit":
		return Command{Verb: Exit}
	}
	if d, ok := foyer.ParseDirection(verb); ok {
		return Command{Verb: Go, Direction: d}
	}
	return Command{}
}

// namedVerbs are the verbs that a name must follow.
var namedVerbs = map[string]Verb{"join": Join, "take": Take, "drop": Drop}

// A Player is a player's name in canonical form.
type Player string

// ParsePlayer returns the canonical form of a player's name. Its error is a
// [*foyer.Error] of code [foyer.BadName].
func ParsePlayer(s string) (Player, error) {
	n, err := foyer.ParseName(s)
	return Player(n), err
}

// isText reports whether s is UTF-8 without control characters other than those
// in except. A line break in what a player says could pass for a message of the
// room on another player's screen.
func isText(s, except string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && !strings.ContainsRune(except, r)
	})
}
