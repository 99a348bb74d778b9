package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"foyer"
	"foyer/storage"
)

func testFindArgument(t *testing.T, p *place) {
	r := plain("Foyer", 1)
	p.apply(event(storage.Registered, r))
	name := []byte("Foyer")
	got, err := p.Find(name)
	copy(name, "XXXXX")
	if err != nil || got != r {
		t.Errorf("the registration changed with the argument of Find: %+v, %v", got, err)
	}
	p.wantFound(r)
}

func testFindAllocations(t *testing.T, p *place) {
	p.apply(event(storage.Registered, withExits(plain("Foyer", 1), "n:Study")))
	found, missing := []byte("Foyer"), []byte("Attic")
	queries := []storage.Query{{Name: found}, {Name: missing}, {Name: found}}
	if n := testing.AllocsPerRun(100, func() {
		p.Find(found)
		p.Find(missing)
		p.FindAll(queries)
	}); n != 0 {
		t.Errorf("two calls of Find and one of FindAll allocate %v times", n)
	}
}

func testFindAll(t *testing.T, p *place) {
	const names = 50
	var registered []storage.Event
	for i := range names {
		registered = append(registered, event(storage.Registered, plain(foyer.Name(fmt.Sprint("room ", i)), i+1)))
	}
	p.apply(registered...)
	p.FindAll(nil)
	var queries []storage.Query
	for n := range 100 {
		// Some names come twice, some are unknown, and there are answers already.
		queries = append(queries, storage.Query{})
		for i := range queries {
			queries[i].Name = fmt.Append(queries[i].Name[:0], "room ", i*n%(names+names/3))
		}
		p.FindAll(queries)
		for _, q := range queries {
			want, err := p.Find(q.Name)
			if q.Registration != want || !errors.Is(q.Err, err) || err == nil && q.Err != nil {
				t.Fatalf("%d queries: %q got %+v, %v; want %+v, %v", len(queries), q.Name, q.Registration, q.Err, want, err)
			}
		}
	}
}

// testFindDuringUpdate would deadlock if Find waited for the Update.
func testFindDuringUpdate(t *testing.T, p *place) {
	before, after := plain("Foyer", 1), plain("Foyer", 2)
	p.apply(event(storage.Registered, before))
	p.update(func(tx storage.Tx) error {
		if err := tx.Apply(event(storage.Replaced, after)); err != nil {
			return err
		}
		p.wantFound(before)
		if p.Len() != 1 {
			t.Error("Len() is not 1")
		}
		p.Last()
		return nil
	})
	p.wantFound(after)
}

// testFindConcurrent moves a name to and fro between two addresses and other
// names in and out, while readers look: a reader always finds the one name, at
// an address that it had, and never goes back to an older one.
func testFindConcurrent(t *testing.T, p *place) {
	const updates = 200
	p.apply(event(storage.Registered, plain("Foyer", 1000)))
	var readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		readers.Go(func() {
			port := 1000
			queries := make([]storage.Query, 1+i*20)
			for {
				select {
				case <-done:
					return
				default:
				}
				for i := range queries {
					queries[i].Name = []byte("Foyer")
				}
				p.FindAll(queries)
				r, err := p.Find([]byte("Foyer"))
				for _, q := range append(queries, storage.Query{Registration: r, Err: err}) {
					if q.Err != nil {
						t.Errorf("Find: %v", q.Err)
						return
					}
					for q.Registration.Address != plain("", port).Address {
						if port++; port > 1000+updates {
							t.Errorf("Find = %s, an address never had or given up", q.Registration.Address)
							return
						}
					}
				}
				p.Find([]byte("in and out"))
				if n := p.Len(); n != 1 && n != 2 {
					t.Errorf("Len() = %d, want 1 or 2", n)
				}
				p.Last()
			}
		})
	}
	for i := range updates {
		passing := storage.Registered
		if i%2 == 1 {
			passing = storage.Expired
		}
		p.apply(event(storage.Replaced, plain("Foyer", 1001+i)), event(passing, plain("in and out", 1)))
		if i%20 == 0 {
			if list, err := p.List("", 10); err != nil || len(list) != 2 {
				t.Errorf("List = %v, %v", list, err)
			}
		}
	}
	close(done)
	readers.Wait()
}
