package main

import (
	"strings"
	"unicode/utf8"
)

// wrap breaks lines of more than width characters at spaces, where they have
// any; a width of 0 leaves them as they are.
func wrap(text string, width int) string {
	if width == 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		for utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > width {
			end := 0              // in bytes, of what fits
			for range width + 1 { // a space may stand just behind
				_, size := utf8.DecodeRuneInString(line[end:])
				end += size
			}
			space := strings.LastIndexByte(line[:end], ' ')
			if strings.TrimSpace(line[:max(space, 0)]) == "" {
				break // one long word, which the terminal breaks
			}
			b.WriteString(line[:space] + "\n")
			line = line[space+1:]
		}
		b.WriteString(line)
	}
	return b.String()
}
