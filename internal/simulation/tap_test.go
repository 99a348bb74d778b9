package simulation

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"foyer"
	"foyer/wire"
)

// A tap listens on the network.
type tap struct {
	time     *timeline
	registry netip.AddrPort
	problems *problems
	denied   func(foyer.ID)        // is told of every change that was refused as unavailable
	renewed  func(foyer.ID) []byte // returns the recorded reply to a RENEW
	granted  func(foyer.ID) bool   // reports whether there is one

	mu       sync.Mutex
	requests map[foyer.ID]*sighting
	seen     []*sighting                // the same, in the order of their appearance
	calling  map[netip.Addr]*operation  // by the host it comes from
	of       map[*operation][]*sighting // what was sent for an operation
	forgers  map[netip.Addr]bool        // hosts whose requests belong to no operation
}

// A sighting is a request that was seen.
type sighting struct {
	id   foyer.ID
	verb wire.Verb
	line []byte
	from netip.AddrPort  // where it came from first
	came []time.Duration // when copies of it reached the registry

	// The reply to a REGISTER or DEREGISTER, once there was one, and when it
	// was first sent.
	reply   []byte
	replied time.Duration
}

func newTap(t *timeline, registry netip.AddrPort, p *problems, j *journal) *tap {
	return &tap{
		time: t, registry: registry, problems: p, denied: j.denied, renewed: j.renewed, granted: j.granted,
		requests: map[foyer.ID]*sighting{},
		calling:  map[netip.Addr]*operation{},
		of:       map[*operation][]*sighting{},
		forgers:  map[netip.Addr]bool{},
	}
}

// distrust makes the tap ignore what comes from host, and object if it is
// granted anything.
func (t *tap) distrust(host netip.Addr) { t.forgers[host] = true }

// call records that what host sends from now on is for op.
func (t *tap) call(host netip.Addr, op *operation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calling[host] = op
}

// verb returns the verb of a request that was seen.
func (t *tap) verb(id foyer.ID) (v wire.Verb) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.requests[id]; s != nil {
		v = s.verb
	}
	return v
}

// lateCopy returns a RENEW a second time, as an operation that may have had
// another effect, if a later copy arrived that was not answered from the
// record: copies count as long as no later request has set the length of the
// lease.
func (t *tap) lateCopy(op *operation) (ghost *operation, ok bool) {
	sent := t.of[op]
	if op.verb != wire.Renew || op.ttl == 0 || op.answer.unknown || len(sent) == 0 {
		return nil, false
	}
	last := sent[len(sent)-1]
	if len(last.came) < 2 || op.answer.code == "" && op.answer.ttl == op.ttl && t.granted(last.id) {
		return nil, false
	}
	g := *op
	g.answer = answer{unknown: true, address: none}
	g.ids = []foyer.ID{last.id}
	g.called = op.called
	g.returned = t.time.carriedOut(slices.Max(last.came))
	return &g, true
}

// pass is a [udptest.Filter].
func (t *tap) pass(from, to netip.AddrPort, payload []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.registry {
	case to:
		if !t.forgers[from.Addr()] {
			t.request(from, payload)
		}
	case from:
		for line := range bytes.Lines(payload) {
			line = bytes.TrimRight(line, "\n")
			if !t.forgers[to.Addr()] {
				t.answer(line)
			} else if r, err := wire.ParseReply(line); err == nil && r.OK && !t.granted(r.UUID) {
				t.problems.add("a forger got %q", line)
			}
		}
	}
	return true
}

func (t *tap) request(from netip.AddrPort, line []byte) {
	r, err := wire.ParseRequest(line)
	if err != nil || r.ID == nil {
		t.problems.add("a client sent %q: %v", line, err)
		return
	}
	s := t.requests[r.UUID]
	if s == nil {
		s = &sighting{id: r.UUID, verb: r.Verb, line: bytes.Clone(line), from: from}
		t.requests[r.UUID] = s
		t.seen = append(t.seen, s)
		op := t.calling[from.Addr()]
		t.of[op] = append(t.of[op], s)
	} else if !bytes.Equal(s.line, line) {
		t.problems.add("the id of %q was used for %q", s.line, line)
	}
}

func (t *tap) answer(line []byte) {
	r, err := wire.ParseReply(line)
	s := t.requests[r.UUID]
	if err != nil || s == nil {
		t.problems.add("the registry replied %q: %v", line, err)
		return
	}
	if s.verb != wire.Register && s.verb != wire.Deregister {
		if recorded := t.renewed(r.UUID); recorded != nil && !bytes.Equal(line, recorded) && !foyer.Code(r.Code).Temporary() {
			t.problems.add("%q was answered with %q, and %q is recorded", s.line, line, recorded)
		}
		return
	}
	switch foyer.Code(r.Code) {
	case foyer.Unavailable:
		t.denied(r.UUID) // only the writer says that about a change
		return
	case foyer.Busy, foyer.StaleRequest:
		return // no outcomes
	}
	if s.reply == nil {
		s.reply, s.replied = bytes.Clone(line), t.time.now()
	} else if !bytes.Equal(s.reply, line) {
		t.problems.add("%q was answered with %q and with %q", s.line, s.reply, line)
	}
}

// came records that a datagram has reached the registry.
func (t *tap) came(datagram []byte) {
	tags, _, err := wire.ParseTags(datagram)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.requests[tags.UUID]; s != nil && bytes.Equal(s.line, datagram) {
		s.came = append(s.came, t.time.now())
	}
}

// observe narrows an operation to what the registry's side of the network
// shows: it cannot have taken effect before the first copy of one of its
// requests arrived and, if it changes something, the transaction of that time
// was over, nor after the first reply was sent, even if the client did not get
// that. An unanswered operation may take effect as long as copies arrive. ok is
// false if nothing has arrived.
func (t *tap) observe(op *operation) (seen *operation, ok bool) {
	o := *op
	o.called, o.returned = never, 0
	sent := t.of[op]
	for _, s := range sent {
		o.ids = append(o.ids, s.id)
		for _, came := range s.came {
			o.returned = max(o.returned, t.time.carriedOut(came))
			if op.verb == wire.Register || op.verb == wire.Deregister {
				came = t.time.taken(came)
			}
			o.called = min(o.called, came)
			ok = true
		}
	}
	if !op.answer.unknown {
		o.returned = op.returned
	}
	if len(sent) == 0 {
		return &o, false
	}
	// Only the last id counts: the earlier ones were refused as stale.
	if last := sent[len(sent)-1]; last.reply != nil {
		o.returned = min(o.returned, last.replied)
		o.answer = parseAnswer(last.reply)
	}
	return &o, ok
}

// parseAnswer reads the reply to a REGISTER or DEREGISTER.
func parseAnswer(line []byte) answer {
	reply, _ := wire.ParseReply(line) // answer and commit have looked for errors
	return answer{code: foyer.Code(reply.Code), address: none, ttl: time.Duration(reply.TTL) * time.Second}
}

// recorded returns a request seen earlier, selected by a number from 0 to 1, or
// nil.
func (t *tap) recorded(which float64) *sighting {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seen) == 0 {
		return nil
	}
	return t.seen[int(which*float64(len(t.seen)))]
}

// problems collects what went wrong in a world.
type problems struct {
	mu    sync.Mutex
	lines []string
}

// mostProblems bounds what is kept: the first ones say most.
const mostProblems = 20

func (p *problems) add(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) < mostProblems {
		p.lines = append(p.lines, fmt.Sprintf(format, args...))
	}
}

func (p *problems) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}
