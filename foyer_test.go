package foyer

import (
	"errors"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Foyer", "Foyer"},
		{"Great Hall", "Great Hall"},
		{"a", "a"},
		{strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{"Café", "Café"},
		{"Cafe\u0301", "Café"},               // composed (NFC)
		{"Great\u00a0Hall", "Great Hall"},    // other spaces become spaces
		{"Große Halle №1", "Große Halle №1"}, // compatibility characters stay
	} {
		got, err := ParseName(c.in)
		if err != nil || string(got) != c.want {
			t.Errorf("ParseName(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
		raw, err := CanonicalName([]byte(c.in))
		if err != nil || !got.Equal(raw) {
			t.Errorf("CanonicalName(%q) = %q, %v, want %q", c.in, raw, err, c.want)
		}
	}
	for _, in := range []string{
		"", " ", " Foyer", "Foyer ", "Great  Hall", "Great \u00a0Hall", "a\tb", "a\nb", "a\x00", "a\x7fb", "\u0085",
		"\xff", "a\xc3", strings.Repeat("x", 256), strings.Repeat("é", 128), "\u200b", "a\u2028b",
	} {
		if got, err := ParseName(in); !errors.Is(err, ErrBadName) {
			t.Errorf("ParseName(%q) = %q, %v, want a refusal", in, got, err)
		}
		if got, err := CanonicalName([]byte(in)); !errors.Is(err, ErrBadName) {
			t.Errorf("CanonicalName(%q) = %q, %v, want a refusal", in, got, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"room://127.0.0.1:5000", "room://127.0.0.1:5000"},
		{"ROOM://127.0.0.1:5000", "room://127.0.0.1:5000"},
		{"room://127.0.0.01:05000", "room://127.0.0.1:5000"},
		{"room://0127.000.0.1:1", "room://127.0.0.1:1"},
		{"room://Inn.Example.ORG:65535", "room://inn.example.org:65535"},
		{"room://inn.example.org.:7", "room://inn.example.org:7"},
		{"room://localhost:1", "room://localhost:1"},
		{"room://room_1:1", "room://room_1:1"},
		{"room://7up.example:1", "room://7up.example:1"},
		{"room://[2001:DB8:0:0:0:0:0:1]:40", "room://[2001:db8::1]:40"},
		{"room://[::ffff:192.0.2.1]:40", "room://192.0.2.1:40"},
		{"room://[::]:40", "room://[::]:40"},
		{"room://" + strings.Repeat("a", 51) + ":12345", "room://" + strings.Repeat("a", 51) + ":12345"},
	} {
		got, err := ParseAddress(c.in)
		if err != nil || string(got) != c.want {
			t.Errorf("ParseAddress(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
		if again, err := ParseAddress(string(got)); err != nil || again != got {
			t.Errorf("ParseAddress(%q) = %q, %v: the canonical form is not kept", got, again, err)
		}
	}
	for _, in := range []string{
		"", "127.0.0.1:5000", "http://127.0.0.1:5000", "room:/127.0.0.1:5000", "room://", "room://:5000", "room://host", "room://host:",
		"room://host:0", "room://host:70000", "room://host:65536", "room://host:+1", "room://host:1x", "room://host:000000", "room://host:99999999999999999999",
		"room://[::1]", "room://[::1]5000", "room://::1:5000", "room://[127.0.0.1]:1", "room://[fe80::1%eth0]:1", "room://[:::1]:1",
		"room://256.0.0.1:1", "room://1.2.3:1", "room://2130706433:1", "room://127.0.0.1.5:1", "room://0x7f.1:1", "room://0x7f000001:1",
		"room://-a:1", "room://a-:1", "room://a..b:1", "room://.a:1", "room://a b:1", "room://a/b:1", "room://a@b:1", "room://ü:1", "room://a\x00:1",
		"room://" + strings.Repeat("a", 64) + ".b:1", "room://" + strings.Repeat("a", 52) + ":12345", "room://host:1/",
	} {
		if got, err := ParseAddress(in); !errors.Is(err, ErrBadAddress) {
			t.Errorf("ParseAddress(%q) = %q, %v, want a refusal", in, got, err)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for _, c := range []struct {
		host string
		want Address
	}{
		{"127.0.0.1", "room://127.0.0.1:9"}, {"::1", "room://[::1]:9"}, {"[::1]", "room://[::1]:9"}, {"Inn", "room://inn:9"},
	} {
		if got, err := AddressOf(c.host, 9); err != nil || got != c.want {
			t.Errorf("AddressOf(%q, 9) = %q, %v, want %q", c.host, got, err, c.want)
		}
	}
	if got := Address("room://[::1]:9").HostPort(); got != "[::1]:9" {
		t.Errorf("HostPort() = %q", got)
	}
}

func TestKey(t *testing.T) {
	k := Key{1, 2, 3}
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Errorf("ParseKey(%q) = %v, %v", k, got, err)
	}
	if (Key{}).String() != "" || !(Key{}).IsZero() {
		t.Error("the zero Key is not empty")
	}
	for _, in := range []string{"", "AAAA", Key{}.String(), strings.Repeat("A", 43), strings.Repeat("!", 43), k.String() + "=", k.String()[:42] + "_"} {
		if got, err := ParseKey(in); err == nil {
			t.Errorf("ParseKey(%q) = %v, want a refusal", in, got)
		}
	}
}

func TestErrors(t *testing.T) {
	if err := error(Errorf(NameTaken, "name %q is taken", "x")); !errors.Is(err, ErrNameTaken) || errors.Is(err, ErrUnknownName) || err.Error() != `name "x" is taken` {
		t.Errorf("%v is not ErrNameTaken, or something else as well", err)
	}
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c] {
			t.Errorf("code %s is listed twice", c)
		}
		seen[c] = true
		if want := c == Busy || c == Unavailable; c.Temporary() != want {
			t.Errorf("%s: Temporary() = %v", c, !want)
		}
	}
}

func TestCanonicalNameAllocations(t *testing.T) {
	raw := []byte("Great Hall")
	if n := testing.AllocsPerRun(100, func() { _, _ = CanonicalName(raw) }); n != 0 {
		t.Errorf("CanonicalName allocates %v times", n)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"room://127.0.0.1:5000", "ROOM://[::FFFF:1.2.3.4]:080", "room://A.b.:1", "room://0x1:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if len(a) > MaxAddress {
			t.Errorf("ParseAddress(%q) = %q is too long", s, a)
		}
		if again, err := ParseAddress(string(a)); err != nil || again != a {
			t.Errorf("ParseAddress(%q) = %q, which is not canonical: %q, %v", s, a, again, err)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"Foyer", "Great Hall", "Cafe\u0301", "a\u3000b", "\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		raw, rawErr := CanonicalName([]byte(s))
		if (err == nil) != (rawErr == nil) || string(raw) != string(n) {
			t.Fatalf("ParseName(%q) = %q, %v, CanonicalName = %q, %v", s, n, err, raw, rawErr)
		}
		if err != nil {
			return
		}
		if again, err := ParseName(string(n)); err != nil || again != n {
			t.Errorf("ParseName(%q) = %q, which is not canonical: %q, %v", s, n, again, err)
		}
	})
}

func TestDirections(t *testing.T) {
	for _, d := range Directions() {
		if got, ok := ParseDirection(d.String()); !ok || got != d {
			t.Errorf("%v is read as %v, %t", d, got, ok)
		}
	}
	for _, s := range []string{"", "North", "n", "nowhere", "north "} {
		if d, ok := ParseDirection(s); ok {
			t.Errorf("%q is read as %v", s, d)
		}
	}
}
