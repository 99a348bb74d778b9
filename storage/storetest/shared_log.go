package storetest

import (
	"bytes"
	"iter"
	"math/rand/v2"

	"foyer/storage/engine"
)

var _ engine.SharedLog = (*SharedLog)(nil)

// A SharedLog is an [engine.SharedLog] in memory. Several may be open on what one
// keeps, as processes on a cluster: see [SharedLog.Another]. Beside the faults of a
// MemoryLog it knows [Late]. What is not needed any more is kept for some batches, as
// the contract has it, and then gone.
type SharedLog struct {
	MemoryLog
	state   []byte // as End has left it
	summary []byte // as Load has
	news    chan struct{}
}

// shared is what several logs have in common beside a memory.
type shared struct {
	rand    *rand.Rand
	logs    []*SharedLog
	late    []*engine.Batch // appended, and on their way
	needed  []uint64        // by the last batches
	from    uint64          // the snapshot's
	summary []byte          // likewise
}

// keptBatches is how many batches long a SharedLog keeps what is not needed.
const keptBatches = 16

// NewSharedLog returns an empty log. Whether a batch that is late arrives before the
// next one is drawn from the seed.
func NewSharedLog(seed uint64) *SharedLog {
	m := &memory{pieces: map[string][]byte{}}
	m.shared = &shared{rand: rand.New(rand.NewPCG(seed, 4))}
	return (&SharedLog{MemoryLog: MemoryLog{m: m}}).Another()
}

// Another returns another log on what l keeps, as another process would have.
func (l *SharedLog) Another() *SharedLog {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	n := &SharedLog{MemoryLog: MemoryLog{m: l.m}, news: make(chan struct{}, 1)}
	l.m.shared.logs = append(l.m.shared.logs, n)
	return n
}

// News implements [engine.SharedLog].
func (l *SharedLog) News() <-chan struct{} { return l.news }

// State implements [engine.SharedLog].
func (l *SharedLog) State() []byte { return l.state }

// End implements [engine.Log].
func (l *SharedLog) End() (uint64, error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if err := l.reachable(); err != nil {
		return 0, err
	}
	l.m.arrive()
	l.state = bytes.Clone(l.m.state)
	return l.m.end(), nil
}

// Append implements [engine.Log].
func (l *SharedLog) Append(b *engine.Batch) error {
	l.m.mu.Lock()
	l.m.arrive()
	if len(l.m.faults) > 0 && l.m.faults[0] == Late && l.reachable() == nil {
		defer l.m.mu.Unlock()
		l.m.faults = l.m.faults[1:]
		c := *b
		c.Group, c.State = bytes.Clone(b.Group), bytes.Clone(b.State)
		l.m.shared.late = append(l.m.shared.late, &c)
		return Late.err()
	}
	l.m.mu.Unlock()
	err := l.MemoryLog.Append(b)
	if err == nil {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		l.m.tell(l)
	}
	return err
}

// arrive lets batches that are late arrive, or not yet. One comes to nothing if its
// place is taken.
func (m *memory) arrive() {
	for len(m.shared.late) > 0 && m.shared.rand.IntN(2) == 0 {
		b := m.shared.late[0]
		m.shared.late = m.shared.late[1:]
		if b.Position == m.end() {
			m.append(b)
			m.tell(nil)
		}
	}
}

func (m *memory) tell(by *SharedLog) {
	for _, l := range m.shared.logs {
		if l != by {
			select {
			case l.news <- struct{}{}:
			default:
			}
		}
	}
}

// forget returns up to where nothing is needed any more, and was not some batches ago.
func (s *shared) forget(b *engine.Batch) (needed uint64) {
	if s.needed = append(s.needed, min(b.Needed, s.from)); len(s.needed) > keptBatches {
		needed = s.needed[0]
		s.needed = s.needed[1:]
	}
	return needed
}

// Save implements [engine.SharedLog].
func (l *SharedLog) Save(from uint64, pieces iter.Seq2[string, []byte], summary func() []byte) error {
	kept := map[string][]byte{}
	for key, piece := range pieces {
		kept[key] = bytes.Clone(piece)
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.pieces, l.m.shared.from, l.m.shared.summary = kept, from, summary()
	return l.reachable()
}

// Summary implements [engine.SharedLog].
func (l *SharedLog) Summary() []byte { return l.summary }

// Load implements [engine.Log].
func (l *SharedLog) Load(newWorker func() func(key string, value []byte) error) (state []byte, end uint64, err error) {
	l.summary = l.m.shared.summary
	return l.MemoryLog.Load(newWorker)
}

// Copy returns a log with a copy of what l keeps and what is on its way.
func (l *SharedLog) Copy() *SharedLog {
	c := &SharedLog{MemoryLog: *l.MemoryLog.Copy()}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	s := *l.m.shared
	s.logs = nil
	c.m.shared = &s
	return c.Another()
}
