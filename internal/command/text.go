package command

import (
	"strings"
	"unicode"
)

// Printable makes text from a registry, a room or a player safe to show.
// Characters that could control a terminal (C0 and C1), change the direction of
// writing (the embeddings, overrides, isolates and marks of Unicode's
// bidirectional algorithm), or break a line unnoticed (U+2028 and U+2029)
// become U+FFFD, as do bytes that are not UTF-8. Newlines stay, tabs become
// spaces, carriage returns are dropped.
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

// oneLine returns an error, which may quote untrusted text, as one printable
// line.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(Printable(s)), "\n", "; ")
}
