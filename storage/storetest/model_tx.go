package storetest

import (
	"bytes"
	"fmt"

	"foyer"
	"foyer/storage"
)

// modelTx is a transaction of a Model: what it changes, laid over what is on
// the disk.
type modelTx struct {
	disk *disk
	now  storage.Instant

	names     map[foyer.Name]*foyer.Registration // nil: no longer registered
	addresses map[foyer.Address]foyer.Name       // empty: free again
	events    []storage.Event
	outcomes  map[foyer.ID]storage.Outcome
	holds     map[foyer.Name]storage.Hold // without Until: taken away
	held      int                         // how many more there are than before
	recorded  int                         // of the outcomes, those whose ids are not on the disk
}

func (tx *modelTx) Now() storage.Instant { return tx.now }

func (tx *modelTx) Get(name foyer.Name) (foyer.Registration, error) {
	if r, ok := tx.names[name]; ok {
		if r == nil {
			return foyer.Registration{}, foyer.ErrUnknownName
		}
		return *r, nil
	}
	r, ok := tx.disk.names[name] // only an Update writes it, and this is the one
	if !ok {
		return foyer.Registration{}, foyer.ErrUnknownName
	}
	return r, nil
}

func (tx *modelTx) NameAt(addr foyer.Address) (foyer.Name, error) {
	name, ok := tx.addresses[addr]
	if !ok {
		name = tx.disk.addresses[addr]
	}
	if name == "" {
		return "", foyer.ErrUnknownName
	}
	return name, nil
}

func (tx *modelTx) Outcome(id foyer.ID) (storage.Outcome, bool, error) {
	if o, ok := tx.outcomes[id]; ok {
		return o, true, nil
	}
	o, ok := tx.disk.outcomes[id]
	if !ok || expired(o.at, tx.now) {
		return storage.Outcome{}, false, nil
	}
	return o.Outcome, true, nil
}

func (tx *modelTx) Record(o storage.Outcome) error {
	if _, ok, _ := tx.Outcome(o.ID); ok {
		return fmt.Errorf("%w: the id %x has an outcome already", storage.ErrMisfit, o.ID)
	}
	o.Reply = bytes.Clone(o.Reply)
	tx.outcomes[o.ID] = o
	if _, old := tx.disk.outcomes[o.ID]; !old {
		tx.recorded++
	}
	return nil
}

func (tx *modelTx) Outcomes() int { return len(tx.disk.outcomes) + tx.recorded }

func (tx *modelTx) Apply(e storage.Event) error {
	r := e.Registration
	current, err := tx.Get(r.Name)
	registered := err == nil
	if registered == (e.Kind == storage.Registered) {
		return fmt.Errorf("%w: %q %s", storage.ErrMisfit, r.Name, e.Kind)
	}

	switch e.Kind {
	case storage.Registered, storage.Replaced, storage.Extended:
		if r.Name == "" || r.Address == "" || len(r.Exits) > mostExits {
			return fmt.Errorf("%w: a name or an address is empty, or the exits are too long", storage.ErrMisfit)
		}
		if holder, err := tx.NameAt(r.Address); err == nil && holder != r.Name {
			return fmt.Errorf("%w: %q has the address of %q", storage.ErrMisfit, holder, r.Name)
		}
		if registered {
			tx.addresses[current.Address] = ""
		}
		tx.addresses[r.Address] = r.Name
		tx.names[r.Name] = &r
	case storage.RenewedLate:
	case storage.Expired, storage.Deregistered, storage.Evicted:
		tx.addresses[current.Address] = ""
		tx.names[r.Name] = nil
	default:
		return fmt.Errorf("%w: the kind %d is unknown", storage.ErrMisfit, e.Kind)
	}
	tx.events = append(tx.events, e)
	return nil
}

func (tx *modelTx) Held(name foyer.Name) (storage.Hold, bool) {
	h, ok := tx.holds[name]
	if !ok {
		h = tx.disk.holds[name]
	}
	return h, !h.Until.IsZero()
}

func (tx *modelTx) Hold(h storage.Hold) error {
	_, before := tx.Held(h.Name)
	if !h.Until.IsZero() && !before {
		if len(tx.disk.holds)+tx.held >= storage.MaxHolds && !tx.dropHolds() {
			return fmt.Errorf("%w: too many names are held already", foyer.ErrBusy)
		}
		tx.held++
	} else if h.Until.IsZero() && before {
		tx.held--
	}
	tx.holds[h.Name] = h
	return nil
}

func (tx *modelTx) dropHolds() (any bool) {
	for name, h := range tx.disk.holds {
		if _, changed := tx.holds[name]; !changed && !h.Until.After(tx.now.Wall) {
			tx.holds[name] = storage.Hold{Name: name}
			tx.held--
			any = true
		}
	}
	return any
}
