package foyer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestExits(t *testing.T) {
	to := map[Direction]Name{Down: "Cellar: old, damp", North: "Study", South: "n:Study"}
	e, all := NewExits(to)
	if e != "n:Study\ns:n:Study\nd:Cellar: old, damp" || !all || !maps.Equal(maps.Collect(e.All()), to) {
		t.Errorf("%q, %v, of %v", e, all, maps.Collect(e.All()))
	}
	if again, err := DecodeExits(e.Encode()); again != e || err != nil {
		t.Errorf("%q, %v", again, err)
	}
	text, err := json.Marshal(e)
	if want := `{"north":"Study","south":"n:Study","down":"Cellar: old, damp"}`; string(text) != want || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	var again Exits
	if err := json.Unmarshal(text, &again); again != e || err != nil {
		t.Errorf("%q, %v", again, err)
	}
	if e, all := NewExits(nil); e != "" || !all || e.Encode() != nil {
		t.Errorf("no exits are %q", e)
	}
}

// What does not fit is left out, and the rest is kept.
func TestManyExits(t *testing.T) {
	long := Name(strings.Repeat("x", MaxName))
	e, all := NewExits(map[Direction]Name{North: long, South: long, Up: "Attic"})
	if want := "n:" + Exits(long) + "\nu:Attic"; e != want || all || len(e.Encode()) > MaxExits {
		t.Errorf("%q, %v", e, all)
	}
}

func TestBadExits(t *testing.T) {
	for text, want := range map[string]error{
		"n":                                   ErrMalformed,
		"n:":                                  ErrMalformed,
		"n:Study\n":                           ErrMalformed,
		"\nn:Study":                           ErrMalformed,
		"x:Study":                             ErrMalformed,
		"north:Study":                         ErrMalformed,
		"n:Study\nn:Hall":                     ErrMalformed,
		"s:Study\nn:Hall":                     ErrMalformed,
		"n: Study":                            ErrMalformed,
		"n:Stu\x00dy":                         ErrMalformed,
		"n:\xff":                              ErrMalformed,
		"n:" + strings.Repeat("x", MaxName+1): ErrMalformed,
		"n:Study,s:Hall":                      nil,
		"":                                    nil,
	} {
		if _, err := DecodeExits([]byte(base64.RawURLEncoding.EncodeToString([]byte(text)))); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for value, want := range map[string]error{
		"bjpTdHVkeQ==":                  ErrMalformed,
		"bjpTdHVkeR":                    ErrMalformed, // bits that stand for nothing
		"n:Study":                       ErrMalformed,
		strings.Repeat("A", MaxExits+1): ErrTooLarge,
		"bjpTdHVkeQ":                    nil,
	} {
		if _, err := DecodeExits([]byte(value)); !errors.Is(err, want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	for _, text := range []string{`"n"`, `{"north":1}`, `{"n":"Study"}`, `{"north":""}`} {
		var e Exits
		if err := json.Unmarshal([]byte(text), &e); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What can be decoded is the value of what it was decoded to.
func FuzzDecodeExits(f *testing.F) {
	f.Add([]byte("bjpTdHVkeQ"))
	f.Add([]byte("bjpTdHVkeQpzOkhhbGw"))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := DecodeExits(value)
		if err != nil {
			return
		}
		if string(e.Encode()) != string(value) {
			t.Errorf("%q is %q, and that %q", value, e, e.Encode())
		}
		text, err := json.Marshal(e)
		var again Exits
		if err != nil || json.Unmarshal(text, &again) != nil || again != e {
			t.Errorf("%q is %s in JSON, and that %q", e, text, again)
		}
	})
}
