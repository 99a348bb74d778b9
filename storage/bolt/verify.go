package bolt

import (
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"foyer/storage"
)

// Verify looks at everything in a database file that no server holds, and calls
// report with a line of text for each thing that is wrong. It returns an error
// if the file could not be looked at to its end; a file is sound only if there
// was nothing to report and no error. It changes nothing.
//
// A damaged file can take down the process that reads it: run Verify in one of
// its own.
func Verify(path string, report func(problem string)) error {
	r, err := OpenReadOnly(path)
	if err != nil {
		return err
	}
	defer r.Close()
	v := &verifier{report: report, overlay: r.overlay, state: r.state, addresses: map[string]string{}}
	err = r.view(func(btx *bbolt.Tx) error {
		for err := range btx.Check() {
			v.problem("%v", err)
		}
		v.rooms(btx)
		v.pending()
		v.log(btx)
		return nil
	})
	if err != nil {
		return openError(path, err)
	}
	return nil
}

type verifier struct {
	report    func(string)
	overlay   *overlay
	state     state
	found     state // what is counted on the way
	addresses map[string]string
}

func (v *verifier) problem(format string, args ...any) { v.report(fmt.Sprintf(format, args...)) }

// rooms decodes every record, and sees to it that none shares its address.
func (v *verifier) rooms(btx *bbolt.Tx) {
	told := map[string]bool{} // by the log
	for p := range v.overlay.pending.after("") {
		if p.known {
			told[p.name] = true
		}
	}
	c := btx.Bucket(bucketRooms).Cursor()
	for k, b := c.First(); k != nil; k, b = c.Next() {
		if len(b) < 4 {
			v.problem("the record of %q is too short", k)
			continue
		}
		v.found.counted(b)
		var rec record
		err := rec.decode(string(k), b, recordWhole)
		switch {
		case err != nil:
			v.problem("%v", err)
		case rec.position >= v.state.tail:
			v.problem("the record of %q is ahead of the log", k)
		case !rec.registered && len(rec.history) == 0:
			v.problem("the record of %q is empty", k)
		case rec.registered && !told[string(k)]:
			v.address(string(rec.current.Address), string(k))
		}
	}
	if v.found.records != v.state.records {
		v.problem("there are %d records of rooms and should be %d", v.found.records, v.state.records)
	} else if v.found.digest != v.state.digest {
		v.problem("the records of rooms are not all the latest")
	}
}

func (v *verifier) address(addr, name string) {
	v.found.registered++
	if other, taken := v.addresses[addr]; taken {
		v.problem("%q and %q are both registered at %s", other, name, addr)
	}
	v.addresses[strings.Clone(addr)] = strings.Clone(name)
}

// pending adds what the log says of names that are still to be folded.
func (v *verifier) pending() {
	for p := range v.overlay.pending.after("") {
		if p.registered() {
			v.address(string(p.current.Address), p.name)
		}
	}
	if v.found.registered != v.state.registered {
		v.problem("there are %d registrations and should be %d", v.found.registered, v.state.registered)
	}
}

// log decodes every group that is of use, and counts the blocks of the rest.
func (v *verifier) log(btx *bbolt.Tx) {
	last := storage.Instant{}
	ids := 0
	err := eachGroup(btx, v.state.live(), v.state.tail, func(position uint64, g []byte) error {
		at, err := decodeGroup(position, g, visitor{
			outcome: func(int, storage.Outcome) { ids++ },
			event:   func(string, storage.Event, []byte) {},
		})
		if err != nil {
			v.problem("group %d of the log: %v", position, err)
		} else if at.Lease < last.Lease || at.Lease > v.state.last.Lease {
			v.problem("group %d of the log: its clock is out of order", position)
		}
		last = latest(last, at)
		return nil
	})
	if err != nil {
		v.problem("the log: %v", err)
	}
	c := btx.Bucket(bucketLog).Cursor()
	next := v.state.head
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if !isBlock(k, next) {
			v.problem("the log: block %d is missing", next)
			return
		}
		next++
	}
	if next != v.state.tail {
		v.problem("the log ends at block %d and should at %d", next, v.state.tail)
	}
}
