package foyer

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// MaxName is the longest name, in bytes of its canonical form.
const MaxName = 255

// A Name is a room's name in canonical form: the result of the PRECIS
// OpaqueString profile (RFC 8265, section 4.2), 1 to [MaxName] bytes of UTF-8
// without control characters, leading or trailing spaces, or two spaces in a
// row. Comparison is exact and case-sensitive.
type Name string

// ParseName returns the canonical form of s. Its error is a [*Error] of code
// [BadName].
func ParseName(s string) (Name, error) {
	if isPlainName(s) {
		return Name(s), nil
	}
	return parseName(s)
}

// CanonicalName is [ParseName] for bytes, without an allocation where raw is
// canonical already, as printable ASCII is: it then returns raw itself.
func CanonicalName(raw []byte) ([]byte, error) {
	if isPlainName(raw) {
		return raw, nil
	}
	n, err := parseName(string(raw))
	return []byte(n), err
}

// isPlainName reports whether s is printable ASCII, which the profile leaves
// unchanged. Most names are, and consulting the profile's tables costs thirty
// times as much.
func isPlainName[T string | []byte](s T) bool {
	if len(s) == 0 || len(s) > MaxName || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ' ' && s[i-1] == ' ' {
			return false
		}
	}
	return true
}

func parseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", Errorf(BadName, "the name is missing")
	case !utf8.ValidString(s):
		return "", Errorf(BadName, "the name is not UTF-8")
	case len(s) > MaxName:
		return "", Errorf(BadName, "the name is longer than %d bytes", MaxName)
	}
	n, err := precis.OpaqueString.String(s)
	switch {
	case err != nil:
		return "", Errorf(BadName, "the name has a character that names may not have")
	case len(n) > MaxName:
		return "", Errorf(BadName, "the name is longer than %d bytes", MaxName)
	case n[0] == ' ' || n[len(n)-1] == ' ':
		return "", Errorf(BadName, "the name begins or ends with a space")
	case strings.Contains(n, "  "):
		return "", Errorf(BadName, "the name has two spaces in a row")
	}
	return Name(n), nil
}

// Equal reports whether raw is the canonical name n.
func (n Name) Equal(raw []byte) bool { return string(n) == string(raw) }
