package command_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"foyer/internal/command"
)

// forbidden are the characters that must not reach anybody's terminal.
func forbidden() string {
	var b strings.Builder
	add := func(from, to rune) {
		for r := from; r <= to; r++ {
			if r != '\n' && r != '\t' && r != '\r' {
				b.WriteRune(r)
			}
		}
	}
	add(0, 0x1f)        // C0
	add(0x7f, 0x9f)     // DEL, C1
	add(0x61c, 0x61c)   // Arabic letter mark
	add(0x200e, 0x200f) // left-to-right and right-to-left mark
	add(0x2028, 0x202e) // separators; embeddings and overrides
	add(0x2066, 0x2069) // isolates
	return b.String()
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"a round hall": "a round hall", "ünï 大广间 🚪": "ünï 大广间 🚪", "שלום": "שלום", "می\u200cخواهم": "می\u200cخواهم",
		"a\tb\r\nc\n": "a b\nc\n", "a\xffb": "a\ufffdb", "": "",
	} {
		if got := command.Printable(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	for _, r := range forbidden() {
		if got := command.Printable("a" + string(r) + "b"); got != "a\ufffdb" {
			t.Errorf("%U is shown as %q", r, got)
		}
	}
}

// Untrusted text in an error is written on one line, without control or
// direction characters.
func TestErrorsOfStrangers(t *testing.T) {
	for _, usage := range []bool{false, true} {
		root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error {
			err := errors.New("the registry says\r\n" + forbidden() + "moor")
			if usage {
				err = command.Usagef("%w", err)
			}
			return err
		}}
		_, _, stderr := run(root)
		want := "tool: the registry says; " + strings.Repeat("\ufffd", utf8.RuneCountInString(forbidden())) + "moor"
		if !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("wrote %q", stderr)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("Foyer\n\nA round hall.\n\nThe room is empty.")
	f.Add("\x1b[2J\x9b31m\x00\u202e\xff\xfe\r\n\t")
	none := forbidden() + "\r\t"
	f.Fuzz(func(t *testing.T, text string) {
		shown := command.Printable(text)
		if !utf8.ValidString(shown) || strings.ContainsAny(shown, none) || strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("%q is shown as %q", text, shown)
		}
		if command.Printable(shown) != shown {
			t.Errorf("%q is shown otherwise the second time", shown)
		}
	})
}
