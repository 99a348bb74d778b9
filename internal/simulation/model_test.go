package simulation

import (
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"foyer"
	"foyer/wire"

	"github.com/anishathalye/porcupine"
)

// A slot is what the model knows about one name.
type slot struct {
	registered bool
	address    int8
	owner      int8
	from       int16         // matters if there is no owner
	ttl        time.Duration // 0 without a lease
	until      time.Duration // the lease cannot have ended before
	asked      int64         // the time in the id of whoever last said how long it is to be, at least
}

// A state is one that a district may be in.
type state [namesPerDistrict]slot

// registryModel is the registry as docs/protocol.md describes it, for one
// district. A lease ends by itself at any time after slot.until, which the
// model notices only when an operation shows it. An operation whose outcome is
// not known leads to two states, with its effect and without; so the model's
// state is the set of those that are possible.
var registryModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		var districts [][]porcupine.Operation
		for _, o := range all {
			d := o.Input.(*operation).district
			for len(districts) <= d {
				districts = append(districts, nil)
			}
			districts[d] = append(districts[d], o)
		}
		return districts
	},
	Init: func() any { return []state{{}} },
	Step: func(states, input, _ any) (bool, any) {
		op := input.(*operation)
		var next []state
		for _, s := range states.([]state) {
			add := func(s state) {
				if !slices.Contains(next, s) {
					next = append(next, s)
				}
			}
			s.step(op, add)
		}
		return len(next) > 0, next
	},
	Equal: func(a, b any) bool {
		x, y := a.([]state), b.([]state)
		if len(x) != len(y) {
			return false
		}
		for _, s := range x {
			if !slices.Contains(y, s) {
				return false
			}
		}
		return true
	},
	Hash: func(states any) (sum uint64) {
		for _, s := range states.([]state) {
			sum += maphash.Comparable(hashSeed, s)
		}
		return sum
	},
	DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
	DescribeState:     func(states any) string { return fmt.Sprintf("%+v", states) },
}

var hashSeed = maphash.MakeSeed()

// step calls add with each state that s may have become when op has got its
// answer; with none if it could not have got that.
func (s state) step(op *operation, add func(state)) {
	switch {
	case op.verb == wire.Renew && (op.answer.unknown || op.answer.code == ""):
		s.renew(op, add)
	case op.answer.unknown:
		add(s)
		if changed, ok := s.granted(op); ok {
			add(changed)
		}
	case op.answer.code == foyer.StaleRequest:
		add(s)
	case op.answer.code == "":
		if changed, ok := s.granted(op); ok {
			add(changed)
		}
	default:
		if changed, ok := s.refused(op); ok {
			add(changed)
		}
	}
}

// lapse frees the name if its lease may have ended before op returned.
func (s *state) lapse(name int, op *operation) (free bool) {
	if s[name].registered && s[name].until <= op.returned {
		s[name] = slot{}
	}
	return !s[name].registered
}

// holder returns who else has the address of op, or none.
func (s *state) holder(op *operation) int {
	for i := range s {
		if i != op.name && s[i].registered && int(s[i].address) == op.address {
			return i
		}
	}
	return none
}

// granted returns s with the effect of op, if op can be granted.
func (s state) granted(op *operation) (state, bool) {
	n := &s[op.name]
	if op.verb == wire.Register {
		if n.registered && !n.belongsTo(op) && !s.lapse(op.name, op) {
			return s, false
		}
		if other := s.holder(op); other != none && !s.lapse(other, op) {
			return s, false
		}
		*n = slot{registered: true, address: int8(op.address), owner: int8(op.owner), from: int16(op.from), ttl: op.ttl, until: never}
		if op.ttl > 0 {
			n.until, n.asked = op.until(op.ttl), idTime(op.ids[0])
		}
		return s, op.answer.unknown || op.answer.ttl == n.ttl
	}
	if !n.registered {
		return s, false
	}
	switch op.verb {
	case wire.Lookup:
		return s, int(n.address) == op.answer.address
	default:
		may := n.mayBeChangedBy(op)
		*n = slot{}
		return s, may
	}
}

// renew adds the states that a RENEW may lead to: the lease is started anew as long
// as it was, or as long as op wants it, if nobody has said so since.
func (s state) renew(op *operation, add func(state)) {
	n := &s[op.name]
	if op.answer.unknown {
		add(s)
	}
	if !n.registered || int(n.address) != op.address || !n.mayBeChangedBy(op) {
		return
	}
	if !op.answer.unknown && op.answer.ttl == n.ttl {
		same := s
		if m := &same[op.name]; m.ttl > 0 {
			m.until = op.until(m.ttl)
			if op.ttl == m.ttl && op.owner != none { // of others the id may be out of its window
				m.asked = max(m.asked, idTime(op.ids[0]))
			}
		}
		add(same)
	}
	last := idTime(op.ids[len(op.ids)-1])
	if n.ttl > 0 && op.ttl > 0 && op.ttl != n.ttl && last >= n.asked && (op.answer.unknown || op.answer.ttl == op.ttl) {
		n.ttl, n.until, n.asked = op.ttl, op.until(op.ttl), max(n.asked, idTime(op.ids[0]))
		add(s)
	}
}

// mayBeChangedBy reports whether op is the owner's, or where there is none from the
// host that registered.
func (n *slot) mayBeChangedBy(op *operation) bool {
	return n.belongsTo(op) || n.owner == none && int(n.from) == op.from
}

// belongsTo reports whether op is signed with the owner's key.
func (n *slot) belongsTo(op *operation) bool { return n.owner != none && int(n.owner) == op.owner }

// refused returns what is known of s after op has been refused as it was, if it
// could be.
func (s state) refused(op *operation) (state, bool) {
	n := &s[op.name]
	code := op.answer.code
	switch {
	case op.verb == wire.Register && code == foyer.AddressTaken:
		// The name alone would not have been in the way.
		free := !n.registered || n.belongsTo(op) || s.lapse(op.name, op)
		return s, free && s.holder(op) != none
	case op.verb != wire.Register && code == foyer.UnknownName:
		return s, s.lapse(op.name, op)
	case !n.registered:
		return s, false
	}
	owned, signed := n.owner != none, op.owner != none
	theirs := owned && signed && !n.belongsTo(op)
	switch op.verb {
	case wire.Register:
		return s, code == foyer.NameTaken && !(owned && signed) || code == foyer.NotOwner && theirs
	case wire.Renew:
		if int(n.address) != op.address {
			return s, code == foyer.Replaced
		}
		fallthrough
	case wire.Deregister:
		if !owned {
			return s, code == foyer.NotOwner && int(n.from) != op.from
		}
		return s, code == foyer.NotOwner && !signed || code == foyer.BadSignature && theirs
	}
	return s, false
}
