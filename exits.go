package foyer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"iter"
	"strings"
)

// MaxExits is the longest value of the tag exits, in bytes.
const MaxExits = 600

// Exits say where the exits of a room lead, as far as the room has told: for each
// direction that has one a line with its first letter, a colon and the name of the
// room there, such as "n:Study", in the order of [Directions] and without a newline at
// the end. They are what the value of the tag exits encodes. No Exits are empty.
type Exits string

// NewExits returns those of to that fit into a tag, in the order of [Directions], and
// whether that is all.
func NewExits(to map[Direction]Name) (e Exits, all bool) {
	all = true
	for _, d := range Directions() {
		name, ok := to[d]
		if !ok {
			continue
		}
		longer := e.with(d, name)
		if base64.RawURLEncoding.EncodedLen(len(longer)) > MaxExits {
			all = false
			continue
		}
		e = longer
	}
	return e, all
}

func (e Exits) with(d Direction, to Name) Exits {
	line := Exits(d.String()[:1]) + ":" + Exits(to)
	if e == "" {
		return line
	}
	return e + "\n" + line
}

var errBadExits = &Error{Malformed, "the exits are not lines like n:Study, in the order n s e w u d, in base64url without padding"}

// DecodeExits reads the value of a tag. Its error is a [*Error] of code [TooLarge] or
// [Malformed].
func DecodeExits(value []byte) (Exits, error) {
	if len(value) > MaxExits {
		return "", Errorf(TooLarge, "the exits are longer than %d bytes", MaxExits)
	}
	text, err := base64.RawURLEncoding.AppendDecode(nil, value)
	e := Exits(text)
	if err != nil || string(e.Encode()) != string(value) {
		return "", errBadExits
	}
	again := Exits("")
	for d, to := range e.All() {
		again = again.with(d, to)
		if name, err := ParseName(string(to)); err != nil || name != to {
			return "", errBadExits
		}
	}
	if again != e {
		return "", errBadExits
	}
	return e, nil
}

// Encode returns the value of a tag, or nil for no Exits.
func (e Exits) Encode() []byte {
	if e == "" {
		return nil
	}
	return base64.RawURLEncoding.AppendEncode(nil, []byte(e))
}

// All returns the exits in their order.
func (e Exits) All() iter.Seq2[Direction, Name] {
	return func(yield func(Direction, Name) bool) {
		rest := string(e)
		for _, d := range Directions() {
			line, next, _ := strings.Cut(rest, "\n")
			letter, name, ok := strings.Cut(line, ":")
			if !ok || letter != d.String()[:1] {
				continue
			}
			if !yield(d, Name(name)) {
				return
			}
			rest = next
		}
	}
}

// MarshalJSON returns an object of directions and names: {"north":"Study"}.
func (e Exits) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for d, to := range e.All() {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, `"`+d.String()+`":`...)
		out := bytes.NewBuffer(b)
		text := json.NewEncoder(out)
		text.SetEscapeHTML(false) // whoever encodes the object says whether it is
		if err := text.Encode(to); err != nil {
			return nil, err
		}
		b = bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. Its error is a [*Error].
func (e *Exits) UnmarshalJSON(b []byte) error {
	var object map[string]string
	if json.Unmarshal(b, &object) != nil {
		return errNoExits
	}
	to := make(map[Direction]Name, len(object))
	for direction, text := range object {
		d, ok := ParseDirection(direction)
		name, err := ParseName(text)
		if !ok || err != nil {
			return errNoExits
		}
		to[d] = name
	}
	all := false
	if *e, all = NewExits(to); !all {
		return Errorf(TooLarge, "the exits are longer than %d bytes", MaxExits)
	}
	return nil
}

var errNoExits = &Error{Malformed, `the exits are no object of directions and names of rooms, such as {"north":"Study"}`}
