package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"foyer"
	"foyer/wire"

	"github.com/anishathalye/porcupine"
)

// How long to look for an order of one district's operations. It usually takes
// a millisecond, unless there is none.
const (
	patience     = 3 * time.Second
	morePatience = 20 * time.Second
)

// check compares the history with the model. If a stall or a kill has left so
// many unanswered operations that trying all their possible outcomes takes too
// long, it asks the journal.
func (w *world) check() {
	for d, history := range registryModel.Partition(w.observed()) {
		result := porcupine.CheckOperationsTimeout(registryModel, history, patience)
		if result == porcupine.Unknown {
			w.asked++
			history = w.settled(history)
			result = porcupine.CheckOperationsTimeout(registryModel, history, morePatience)
		}
		switch result {
		case porcupine.Illegal:
			_, info := porcupine.CheckOperationsVerbose(registryModel, history, morePatience)
			w.illegal = append(w.illegal, explain(d, history, info.PartialLinearizationsOperations()[d]))
		case porcupine.Unknown:
			w.undecided++
		}
	}
}

// settled returns the history with what the journal knows about unanswered
// operations: they took effect before their outcome became durable, or never.
func (w *world) settled(history []porcupine.Operation) (all []porcupine.Operation) {
	for _, o := range history {
		op := *o.Input.(*operation)
		if op.answer.unknown {
			i := slices.IndexFunc(op.ids, func(id foyer.ID) bool { return w.journal.outcomes[id].Reply != nil })
			if i < 0 {
				continue
			}
			found := w.journal.outcomes[op.ids[i]]
			op.answer, op.returned = parseAnswer(found.Reply), found.durable
			o.Input, o.Return = &op, int64(op.returned)
		}
		all = append(all, o)
	}
	return all
}

// observed returns the history for porcupine, as seen from the registry's side
// of the network: that leaves less time for each operation than the client saw,
// so the check is stricter. Of the unanswered operations it includes those that
// may have changed something.
func (w *world) observed() (all []porcupine.Operation) {
	for _, op := range w.history.operations {
		seen, ok := w.tap.observe(op)
		if seen.answer.unknown && (!ok || op.verb == wire.Lookup || op.verb == wire.Renew && op.ttl == 0) {
			continue
		}
		if !ok || seen.called < op.called || seen.returned < seen.called || !op.answer.unknown && seen.answer != op.answer {
			w.problems.add("%v: the network has seen %v", op, seen)
		}
		all = append(all, w.shown(seen))
		if ghost, ok := w.tap.lateCopy(op); ok {
			all = append(all, w.shown(ghost))
		}
	}
	return all
}

// shown returns an operation for porcupine.
func (w *world) shown(op *operation) porcupine.Operation {
	for i, ttl := range w.actors[op.actor].district.ttls {
		op.leases[i] = lease{ttl, w.time.earliestEnd(op.called, ttl)}
	}
	return porcupine.Operation{ClientId: op.actor, Input: op, Call: int64(op.called), Return: int64(op.returned)}
}

// An explanation is how far the history of a district can be explained.
type explanation struct {
	district  int
	explained []*operation // in an order that the model allows, as many as possible
	rest      []*operation // in the order of their calls
}

func explain(district int, history []porcupine.Operation, orders [][]porcupine.Operation) explanation {
	e := explanation{district: district}
	for _, order := range orders {
		if len(order) > len(e.explained) {
			e.explained = e.explained[:0]
			for _, o := range order {
				e.explained = append(e.explained, o.Input.(*operation))
			}
		}
	}
	for _, o := range history {
		if op := o.Input.(*operation); !slices.Contains(e.explained, op) {
			e.rest = append(e.rest, op)
		}
	}
	slices.SortFunc(e.rest, func(a, b *operation) int { return int(a.called - b.called) })
	return e
}

// String shows the last operations that can be explained, the possible states
// after them, and the operations that follow.
func (e explanation) String() string {
	const shown = 12
	var b strings.Builder
	fmt.Fprintf(&b, "the history of district %d can be explained to here:\n", e.district)
	for _, op := range e.explained[max(0, len(e.explained)-shown):] {
		fmt.Fprintf(&b, "  %v\n", op)
	}
	states := registryModel.Init()
	for _, op := range e.explained {
		_, states = registryModel.Step(states, op, nil)
	}
	for _, s := range states.([]state) {
		fmt.Fprintf(&b, "  = %+v\n", s)
	}
	for _, op := range e.rest[:min(shown, len(e.rest))] {
		fmt.Fprintf(&b, "? %v\n", op)
	}
	return b.String()
}

// verdict returns what is wrong with the world, or the empty string.
func (w *world) verdict() string {
	lines := w.problems.all()
	for _, e := range w.illegal {
		lines = append(lines, e.String())
	}
	return strings.Join(lines, "\n")
}
