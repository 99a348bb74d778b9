package discovery

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"foyer"
)

func exitsTag(text string) string {
	return ";exits=" + base64.RawURLEncoding.EncodeToString([]byte(text))
}

// What a room tells of its exits is kept with its registration, over restarts, until
// it registers anew; look-ups and histories do not have it.
func TestExits(t *testing.T) {
	run(t, func(b *bench) {
		exits := func(name string) foyer.Exits {
			reg, err := b.store.Find([]byte(name))
			if err != nil {
				t.Fatal(err)
			}
			return reg.Exits
		}
		b.expectCode("@ttl=30"+exitsTag("n:Study\nd:Cellar")+" REGISTER room://192.0.2.10:1 Foyer", "OK")
		b.expectCode("REGISTER room://192.0.2.10:2 Hall", "OK")
		b.restart()
		if exits("Foyer") != "n:Study\nd:Cellar" || exits("Hall") != "" {
			t.Errorf("%q, %q", exits("Foyer"), exits("Hall"))
		}
		b.expect("LOOKUP Foyer", "OK room://192.0.2.10:1")
		b.expectCode("@ttl=60 RENEW room://192.0.2.10:1 Foyer", "OK")
		if exits("Foyer") == "" {
			t.Error("a renewal has ended them")
		}

		owned := func(n byte, tag string) string {
			return b.signed(n, ";ttl=30;key="+publicKey(n)+tag, "REGISTER room://192.0.2.10:3 Attic")
		}
		b.expectCode(owned(1, exitsTag("d:Hall")), "OK")
		b.expectCode(owned(1, exitsTag("d:Foyer")), "OK") // nothing else is new
		if exits("Attic") != "d:Foyer" {
			t.Errorf("%q after they have changed", exits("Attic"))
		}
		// Neither a longer lease, nor its end being written, nor a late renewal.
		b.expectCode(b.signed(1, ";ttl=600", "RENEW room://192.0.2.10:3 Attic"), "OK")
		time.Sleep(9 * time.Minute)
		b.expectCode(b.signed(1, "", "RENEW room://192.0.2.10:3 Attic"), "OK")
		time.Sleep(checkpointEvery + time.Minute)
		if exits("Attic") != "d:Foyer" {
			t.Errorf("%q after renewals", exits("Attic"))
		}
		b.expectCode(owned(2, exitsTag("d:Hall")), foyer.NotOwner)
		forged := strings.Replace(owned(1, exitsTag("d:Foyer")), exitsTag("d:Foyer"), exitsTag("d:Fiyer"), 1)
		b.expectCode(forged, foyer.BadSignature)
		b.expectCode(owned(1, ""), "OK")
		if exits("Attic") != "" {
			t.Errorf("%q after it has told none", exits("Attic"))
		}
		if got := kinds(b, "Attic"); got != "replaced renewed late replaced registered" {
			t.Errorf("the history is %s", got)
		}

		b.expectCode("@ttl=30"+exitsTag("n:Study\nn:Hall")+" REGISTER room://192.0.2.10:4 Study", foyer.Malformed)
		b.expectCode("@ttl=30;exits=n:Hall REGISTER room://192.0.2.10:4 Study", foyer.Malformed)
		b.expectCode("@ttl=30;exits="+strings.Repeat("A", 604)+" REGISTER room://192.0.2.10:4 Study", foyer.TooLarge)
		b.expectCode("@x= LOOKUP Study", foyer.UnknownName)
	})
}
