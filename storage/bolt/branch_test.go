package bolt

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"foyer"
	"foyer/storage"
)

// TestBranchKeys damages the keys of branches, which lead to the pages behind them:
// what is written later would go astray. The file is refused, or can be gone on with.
func TestBranchKeys(t *testing.T) {
	path, whole, kinds, _ := fileWithPages(t)
	keys, opened, astray := 0, 0, 0
	for id, kind := range kinds {
		if kind != "branch" {
			continue
		}
		page := whole[id*pageSize:][:pageSize]
		for i := range int(native.Uint16(page[10:])) {
			at := pageHeader + i*elementSize
			key, size := at+int(native.Uint32(page[at:])), int(native.Uint32(page[at+4:]))
			for _, step := range []byte{1, 0xff, 0x40} {
				keys++
				bad := bytes.Clone(whole)
				bad[int(id)*pageSize+key+size-1] += step
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				if tried(t, path) != nil {
					continue
				}
				opened++
				if err := goOn(path); err != nil {
					astray++
					t.Logf("key %d of branch %d, %d more: %v", i, id, step, err)
				}
			}
		}
	}
	if keys < 30 {
		t.Error("that is too little")
	}
	if astray > 0 {
		t.Errorf("of %d keys that were damaged %d were not noticed, which did harm %d times", keys, opened, astray)
	}
}

// goOn changes every name of fileWithPages, and opens the file again.
func goOn(path string) error {
	s, err := Open(path, quick)
	if err != nil {
		return err
	}
	defer s.Close()
	n := s.Len()
	for from := 0; from < n; from += 20 {
		err := s.Update(storage.Instant{}, func(tx storage.Tx) error {
			for i := from; i < min(from+20, n); i++ {
				r := foyer.Registration{Name: longName(i), Address: foyer.Address(fmt.Sprintf("room://other:%d", i))}
				if err := tx.Apply(storage.Event{Kind: storage.Replaced, Registration: r}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	again, err := Open(path, quick)
	if err != nil {
		return err
	}
	defer again.Close()
	for i := range n {
		r, err := again.Find([]byte(longName(i)))
		if err != nil || r.Address != foyer.Address(fmt.Sprintf("room://other:%d", i)) {
			return fmt.Errorf("room %d is %+v, %v", i, r, err)
		}
	}
	again.Close()
	problems := 0
	if err := Verify(path, func(string) { problems++ }); err != nil || problems > 0 {
		return fmt.Errorf("%d problems, %v", problems, err)
	}
	return nil
}
