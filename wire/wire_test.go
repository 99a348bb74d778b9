package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"foyer"
)

const anID = "018f4e7a-1b2c-7d3e-8f40-112233445566"

func TestParseRequest(t *testing.T) {
	type parsed struct {
		verb          Verb
		address, name string
		id            string
		ttl           uint64
	}
	for _, c := range []struct {
		in   string
		want parsed
	}{
		{"LOOKUP Foyer", parsed{verb: Lookup, name: "Foyer"}},
		{"lookup Great Hall", parsed{verb: Lookup, name: "Great Hall"}},
		{"LookUp   Great Hall  ", parsed{verb: Lookup, name: "Great Hall"}},
		{"REGISTER room://h:1 Great Hall", parsed{verb: Register, address: "room://h:1", name: "Great Hall"}},
		{"register  room://h:1  x", parsed{verb: Register, address: "room://h:1", name: "x"}},
		{"DEREGISTER a  b", parsed{verb: Deregister, name: "a  b"}},
		{"@id=" + anID + ";ttl=30 RENEW room://h:1 x", parsed{verb: Renew, address: "room://h:1", name: "x", id: anID, ttl: 30}},
		{"@x=;vendor/y=a=b;Z=1 LOOKUP @id=1", parsed{verb: Lookup, name: "@id=1"}},
		{"@id=" + strings.ToUpper(anID) + "  LOOKUP x", parsed{verb: Lookup, name: "x", id: strings.ToUpper(anID)}},
	} {
		r, err := ParseRequest([]byte(c.in))
		got := parsed{r.Verb, string(r.Address), string(r.Name), string(r.ID), r.TTL}
		if err != nil || got != c.want {
			t.Errorf("ParseRequest(%q) = %+v, %v, want %+v", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct {
		in   string
		code foyer.Code
		id   string
	}{
		{"", foyer.Malformed, ""},
		{"   ", foyer.Malformed, ""},
		{"LOOKUP", foyer.Malformed, ""},
		{"LOOKUP ", foyer.Malformed, ""},
		{"REGISTER room://h:1", foyer.Malformed, ""},
		{"REGISTER", foyer.Malformed, ""},
		{"JOIN x", foyer.UnknownVerb, ""},
		{"LOOKUPS x", foyer.UnknownVerb, ""},
		{"\x00\xff", foyer.UnknownVerb, ""},
		{"@ LOOKUP x", foyer.Malformed, ""},
		{"@id LOOKUP x", foyer.Malformed, ""},
		{"@=1 LOOKUP x", foyer.Malformed, ""},
		{"@id=" + anID, foyer.Malformed, ""},
		{"@id=" + anID + ";", foyer.Malformed, anID},
		{"@id=" + anID + "; LOOKUP x", foyer.Malformed, anID},
		{"@id=" + anID + ";id=" + anID + " LOOKUP x", foyer.Malformed, anID},
		{"@a=1;a=2 LOOKUP x", foyer.Malformed, ""},
		{"@id=018f LOOKUP x", foyer.Malformed, ""},
		{"@id=018f4e7a1b2c7d3e8f40112233445566 LOOKUP x", foyer.Malformed, ""},
		{"@id=018f4e7a-1b2c-7d3e-8f40-11223344556g LOOKUP x", foyer.Malformed, ""},
		{"@id= LOOKUP x", foyer.Malformed, ""},
		{"@ttl=x LOOKUP x", foyer.Malformed, ""},
		{"@ttl= LOOKUP x", foyer.Malformed, ""},
		{"@ttl=-1 LOOKUP x", foyer.Malformed, ""},
		{"@ttl=1234567890123456789 LOOKUP x", foyer.Malformed, ""},
		{"@x=\u00e9 LOOKUP x", foyer.Malformed, ""},
		{"@x=a,b LOOKUP x", foyer.Malformed, ""},
		{"@sig=x;id=" + anID + " LOOKUP x", foyer.Malformed, ""},
		{"@" + strings.Repeat("a=;", 1) + "b= x", foyer.UnknownVerb, ""},
		{"@a=;b=;c=;d=;e=;f=;g=;h=;i=;j=;k=;l=;m=;n=;o=;p=;q= LOOKUP x", foyer.Malformed, ""},
	} {
		r, err := ParseRequest([]byte(c.in))
		if !errors.Is(err, &foyer.Error{Code: c.code}) || string(r.ID) != c.id {
			t.Errorf("ParseRequest(%q) = id %q, %v, want %q, %s", c.in, r.ID, err, c.id, c.code)
		}
	}
}

func TestReplies(t *testing.T) {
	id := Tags{Any: true, ID: []byte(anID)}
	other := Tags{Any: true}
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{AppendOK(nil, &Tags{}, 30, "room://h:1"), "OK room://h:1"},
		{AppendOK(nil, &Tags{}, -1, ""), "OK"},
		{AppendOK(nil, &id, -1, ""), "@id=" + anID + " OK"},
		{AppendOK(nil, &id, 30, "room://h:1"), "@id=" + anID + ";ttl=30 OK room://h:1"},
		{AppendOK(nil, &other, 30, ""), "@ttl=30 OK"},
		{AppendOK(nil, &other, -1, ""), "OK"},
		{AppendRefusal(nil, &Tags{}, foyer.ErrNameTaken, 0, 100), "NOTOK the name is already registered"},
		{AppendRefusal(nil, &id, foyer.ErrNameTaken, 0, 1000), "@id=" + anID + ";code=name-taken NOTOK the name is already registered"},
		{AppendRefusal(nil, &other, foyer.ErrStaleRequest, 17, 1000), "@code=stale-request;now=17 NOTOK the request's id is too old or too far ahead"},
		{AppendRefusal(nil, &Tags{}, &foyer.Error{Text: "äöü"}, 0, 9), "NOTOK ä"},
		{AppendRefusal([]byte("x\n"), &Tags{}, &foyer.Error{Text: "abc"}, 0, 8), "x\nNOTOK ab"},
	} {
		if string(c.got) != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, in := range []string{"OK", "OK room://h:1", "NOTOK no", "@id=" + anID + ";code=busy NOTOK try again", "OK a\n\nb"} {
		r, err := ParseReply([]byte(in))
		if err != nil {
			t.Errorf("ParseReply(%q): %v", in, err)
		}
		if got := AppendReply(nil, &r); string(got) != in {
			t.Errorf("ParseReply(%q) appended is %q", in, got)
		}
	}
	for _, in := range []string{"", "ok", "OKAY", "@id=x OK", "Foyer\n\nA room"} {
		if r, err := ParseReply([]byte(in)); err == nil {
			t.Errorf("ParseReply(%q) = %+v, want an error", in, r)
		}
	}
	refused, _ := ParseReply([]byte("@code=name-taken NOTOK no"))
	if err := refused.Err(); !errors.Is(err, foyer.ErrNameTaken) || err.Error() != "no" {
		t.Errorf("Err() = %v", err)
	}
}

func TestSign(t *testing.T) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	key := foyer.Key(private.Public().(ed25519.PublicKey))
	r := Request{Tags: Tags{ID: []byte(anID), Key: []byte(key.String()), Exits: foyer.Exits("n:Study\ns:Hall").Encode()}, Verb: Register, Address: []byte("room://h:1"), Name: []byte("Great Hall")}
	line := Sign(AppendRequest(nil, &r), private)
	prefix := "@id=" + anID + ";key=" + key.String() + ";exits=bjpTdHVkeQpzOkhhbGw;sig="
	if want := " REGISTER room://h:1 Great Hall"; !strings.HasPrefix(string(line), prefix) || !strings.HasSuffix(string(line), want) {
		t.Fatalf("Sign() = %q", line)
	}
	got, err := ParseRequest(line)
	if err != nil || !Verify(line, got.Sig, key) {
		t.Fatalf("Verify(%q) = false, %v", line, err)
	}
	// No single byte may be changed.
	for i := range line {
		forged := bytes.Clone(line)
		forged[i] ^= 1
		r, err := ParseRequest(forged)
		if err == nil && r.Sig != nil && Verify(forged, r.Sig, key) {
			t.Errorf("the signature still fits with byte %d changed: %q", i, forged)
		}
	}
	for _, sig := range []string{"", "AAAA", strings.Repeat("A", 86), base64.StdEncoding.EncodeToString(make([]byte, 64))} {
		forged := []byte("@id=" + anID + ";sig=" + sig + " LOOKUP x")
		if Verify(forged, []byte(sig), key) {
			t.Errorf("Verify(%q) = true", forged)
		}
	}
}

func TestReplyBudget(t *testing.T) {
	// The shortest request of each kind leaves room for its longest grant.
	longest := strings.Repeat("a", foyer.MaxAddress)
	for _, c := range []struct{ request, reply string }{
		{"LOOKUP x", "OK " + longest},
		{"@id=" + anID + " LOOKUP x", "@id=" + anID + ";ttl=30 OK " + longest},
		{"@a= LOOKUP x", "@ttl=30 OK " + longest},
	} {
		if len(c.reply)+HeaderSize > ReplyBudget(len(c.request)) {
			t.Errorf("the reply to %q may be %d bytes long and needs %d", c.request, ReplyBudget(len(c.request))-HeaderSize, len(c.reply))
		}
	}
}

func TestAllocations(t *testing.T) {
	plain, tagged := []byte("LOOKUP Great Hall"), []byte("@id="+anID+" LOOKUP Great Hall")
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		for _, line := range [][]byte{plain, tagged} {
			r, err := ParseRequest(line)
			if err != nil {
				t.Fatal(err)
			}
			buf = AppendOK(buf[:0], &r.Tags, 30, "room://192.0.2.1:40001")
		}
	}); n != 0 {
		t.Errorf("a look-up is parsed and answered with %v allocations", n)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		"LOOKUP Foyer", "REGISTER room://h:1 Great Hall", "@id=" + anID + ";ttl=30;key=a;sig=b RENEW room://h:1 x", "@x=1;;y= DEREGISTER a", "@exits=bjpTdHVkeQ REGISTER room://h:1 a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		if err != nil {
			if _, ok := errors.AsType[*foyer.Error](err); !ok {
				t.Errorf("ParseRequest(%q): %T", line, err)
			}
			if reply := AppendRefusal(nil, &r.Tags, errNoName, 0, 64); len(reply) > 64 {
				t.Errorf("the refusal of %q is %d bytes long", line, len(reply))
			}
			return
		}
		r.Sig, r.Code, r.Now, r.Sid, r.HasEv, r.Lost, r.HasAck, r.Cookie, r.Ticket = nil, nil, 0, nil, false, 0, false, nil, nil
		again := AppendRequest(nil, &r)
		s, err := ParseRequest(again)
		if err != nil || s.Verb != r.Verb || !bytes.Equal(s.Address, r.Address) || !bytes.Equal(s.Name, r.Name) ||
			!bytes.Equal(s.ID, r.ID) || s.UUID != r.UUID || s.TTL != r.TTL || s.HasTTL != r.HasTTL || !bytes.Equal(s.Key, r.Key) || !bytes.Equal(s.Exits, r.Exits) {
			t.Errorf("%q was appended as %q, which is %+v, %v", line, again, s, err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, s := range []string{"OK", "OK room://h:1", "@id=" + anID + ";code=busy;now=1 NOTOK a b", "@ev=1;sid=x OK a\nb", "@ev=2;lost=3;cookie=y OK"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseReply(line)
		if err != nil {
			return
		}
		s, err := ParseReply(AppendReply(nil, &r))
		if err != nil || s.OK != r.OK || !bytes.Equal(s.Text, r.Text) || !bytes.Equal(s.ID, r.ID) || !bytes.Equal(s.Code, r.Code) || s.Ev != r.Ev ||
			s.Lost != r.Lost || !bytes.Equal(s.Cookie, r.Cookie) {
			t.Errorf("%q came back as %+v, %v", line, s, err)
		}
	})
}
