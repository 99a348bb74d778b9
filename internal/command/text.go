package command

import (
	"strings"
	"unicode"
)

// Printable returns what a stranger wrote, a registry, a room or a player, as
// it may be shown to people: without what could control a terminal (C0 and C1),
// turn the direction of writing (the embeddings, overrides, isolates and marks
// of Unicode's bidirectional algorithm), or break a line unnoticed (U+2028 and
// U+2029). Each of those becomes U+FFFD, as does a byte that is not UTF-8.
// Newlines stay, tabs become spaces, carriage returns vanish.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == '\r':
			return -1
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// oneLine keeps an error, and what strangers wrote into it, to one printable
// line.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(Printable(s)), "\n", "; ")
}
