package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"foyer/internal/command"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"a round hall\n", 0, "a round hall\n"},
		{"a round hall\n", 12, "a round hall\n"},
		{"a round hall\n", 11, "a round\nhall\n"},
		{"a round hall\n", 7, "a round\nhall\n"},
		{"a round hall\n", 6, "a\nround\nhall\n"},
		{"a round hall", 7, "a round\nhall"},
		{"runde Hällé ü\n\n  x\n", 11, "runde Hällé\nü\n\n  x\n"},
		{"  aaaaaaaaaaaa b\n", 5, "  aaaaaaaaaaaa b\n"},
		{"a aaaaaaaaaaaa b\n", 5, "a\naaaaaaaaaaaa b\n"},
		{"", 5, ""},
	} {
		if got := wrap(c.text, c.width); got != c.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// Whatever a room says, nothing controls the terminal, and no word is lost.
func FuzzText(f *testing.F) {
	f.Add("Foyer\n\nA round hall.\n\nThe room is empty.", 20)
	f.Add("\x1b[2J\x9b31m\x00\u202e\xff\xfe\r\n\t", 3)
	f.Add(strings.Repeat("ä ", 100), 1)
	f.Fuzz(func(t *testing.T, text string, width int) {
		shown := command.Printable(text)
		if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("%q is shown as %q", text, shown)
		}
		if command.Printable(shown) != shown {
			t.Errorf("%q is shown otherwise the second time", shown)
		}
		wrapped := wrap(shown, min(max(width, 0), 200))
		if strings.ReplaceAll(wrapped, "\n", " ") != strings.ReplaceAll(shown, "\n", " ") {
			t.Errorf("%q is wrapped to %q", shown, wrapped)
		}
	})
}
