package storetest

import (
	"errors"
	"fmt"

	"foyer/storage"
)

// A Sabotage says in which ways a [Model] is broken on purpose, so that a
// simulation can prove that it notices.
type Sabotage struct {
	// DropOutcomes loses the outcome of every request.
	DropOutcomes bool

	// SplitIndexes writes the index of names and the index of addresses in two
	// transactions. A Model so broken takes harm from the fault [Torn].
	SplitIndexes bool
}

// A Fault is what goes wrong in one Update of a [Model] after its function has
// succeeded, or in one Append of a [MemoryLog].
type Fault int

const (
	// None is no fault.
	None Fault = iota

	// Refused is a full or failing disk: nothing happens, and Update says so.
	Refused

	// Lost is a crash before the transaction is durable: nothing happens, and
	// Update is uncertain.
	Lost

	// Kept is a crash after the transaction is durable: it happens, and Update
	// is uncertain.
	Kept

	// Torn is Kept, but the crash comes between the transactions of a Model
	// that has been broken by SplitIndexes: the second one is lost.
	Torn

	// Conflict is another process that is in the way: nothing happens, and Update
	// says so.
	Conflict

	// Late is a batch that is on its way to a [SharedLog] and may arrive later, unless
	// its place is taken by then. Update is uncertain.
	Late
)

func (f Fault) String() string {
	return [...]string{"none", "refused", "lost", "kept", "torn", "conflict", "late"}[f]
}

var errInjected = errors.New("an injected fault")

func (f Fault) err() error {
	switch f {
	case None:
		return nil
	case Refused, Conflict:
		return storage.Unavailable(errInjected)
	}
	return fmt.Errorf("%w: %w", storage.ErrUncertain, errInjected)
}

// Fail makes the next Updates of m meet the given faults, one each, after those
// that earlier calls have announced.
func (m *Model) Fail(faults ...Fault) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.faults = append(m.disk.faults, faults...)
}

func (d *disk) takeFault() Fault {
	if len(d.faults) == 0 {
		return None
	}
	f := d.faults[0]
	d.faults = d.faults[1:]
	return f
}

// Invariant returns an error if the indexes of names and of addresses do not
// agree.
func (m *Model) Invariant() error {
	m.disk.mu.RLock()
	defer m.disk.mu.RUnlock()
	for name, r := range m.disk.names {
		if m.disk.addresses[r.Address] != name {
			return fmt.Errorf("%q is registered at %s, which the other index gives to %q",
				name, r.Address, m.disk.addresses[r.Address])
		}
	}
	for addr, name := range m.disk.addresses {
		if m.disk.names[name].Address != addr {
			return fmt.Errorf("%s is the address of %q, which the other index has at %q",
				addr, name, m.disk.names[name].Address)
		}
	}
	return nil
}
