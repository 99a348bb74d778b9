package discovery

import (
	"testing"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/storage/storetest"
)

// After a backup is restored, rooms that are alive stay, others end with their leases,
// and late copies of what was done since the backup are not carried out again.
func TestRestored(t *testing.T) {
	run(t, func(b *bench) {
		known := "@id=" + b.id(0) + ";ttl=30 REGISTER room://192.0.2.10:1 Live"
		b.expectCode(known, "OK")
		b.expectCode("@ttl=30 REGISTER room://192.0.2.10:2 Dead", "OK")
		b.expectCode("@ttl=3600 REGISTER room://192.0.2.10:3 Long", "OK")
		b.stop()
		backup := b.store.Reopen()

		// Another store stands for what became of this one after the backup.
		time.Sleep(2 * time.Hour)
		b.store = storetest.NewModel(storetest.Sabotage{})
		b.start()
		late := "@id=" + b.id(0) + " REGISTER room://192.0.2.10:4 Late"
		b.expectCode(late, "OK")
		b.expectCode("@id="+b.id(0)+" DEREGISTER Late", "OK")
		b.stop()

		time.Sleep(time.Second)
		at := time.Now()
		if err := backup.Update(storage.Instant{Wall: at, Lease: backup.Last().Lease}, func(tx storage.Tx) error { return MarkRestored(tx, at) }); err != nil {
			t.Fatal(err)
		}
		b.store = backup.Reopen()
		b.start()
		for range 20 {
			b.expectCode("@x= RENEW room://192.0.2.10:1 Live", "OK")
			b.expectCode(late, foyer.StaleRequest)
			time.Sleep(2 * time.Second)
			b.restart()
		}
		time.Sleep(20 * time.Second)
		b.expectCode("@x= RENEW room://192.0.2.10:1 Live", "OK")
		time.Sleep(20 * time.Second)
		b.expect("LOOKUP Live", "OK room://192.0.2.10:1")
		b.expect("LOOKUP Dead", "NOTOK no room of that name is registered")
		b.expect("LOOKUP Long", "OK room://192.0.2.10:3")
		b.expectCode("@id="+b.id(-time.Minute)+" REGISTER room://192.0.2.10:4 Late", "OK") // since the restoration
		b.expectCode("@id="+b.id(-2*time.Minute)+" REGISTER room://192.0.2.10:5 Older", foyer.StaleRequest)

		// The mark is dropped when ids from before it are too old anyway.
		time.Sleep(15 * time.Minute)
		b.expectCode("@id="+b.id(0)+" REGISTER room://192.0.2.10:5 Older", "OK")
		b.expectCode(late, foyer.StaleRequest)
		if b.store.Recorded(restorationID(0)) {
			t.Error("the mark is still there")
		}
		time.Sleep(2 * time.Hour)
		b.expect("LOOKUP Long", "NOTOK no room of that name is registered")
	})
}

func TestMarkRestored(t *testing.T) {
	s := storetest.NewModel(storetest.Sabotage{})
	var err error
	for n := 0; n < restorations && err == nil; n++ {
		err = s.Update(s.Last(), func(tx storage.Tx) error { return MarkRestored(tx, time.Now()) })
	}
	if err != nil {
		t.Error(err)
	}
	if err := s.Update(s.Last(), func(tx storage.Tx) error { return MarkRestored(tx, time.Now()) }); err == nil {
		t.Error("one more succeeds")
	}
}
