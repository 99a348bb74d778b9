package client

import (
	"context"
	"time"
)

// A try is what a call has asked one of several registries.
type try struct {
	attempts    int
	first, last time.Time     // when
	answered    bool          // usefully
	took        time.Duration // since the last attempt before the answer
}

// A peerSet has a bit for each of a call's peers.
type peerSet uint16 // maxRegistries

func (s peerSet) has(i int) bool { return s&(1<<i) != 0 }
func (s *peerSet) add(i int)     { *s |= 1 << i }
func (s *peerSet) remove(i int)  { *s &^= 1 << i }

// hedge sends the open lines to one more registry, the best that has not been
// asked and may be asked while others may still answer. Whichever answers first
// counts. It returns the index of the registry, or -1 if there is none.
func (k *call) hedge(ctx context.Context) int {
	for i := range k.tries {
		if k.tries[i].attempts == 0 && k.mayHedge(i) && k.send(ctx, i) == nil {
			return i
		}
	}
	return -1
}

// moveOn is for when peer from has refused temporarily: one that has not been
// asked is asked at once, and the attempts go on from there.
func (k *call) moveOn(ctx context.Context, from int) {
	if i := k.hedge(ctx); i >= 0 {
		k.turn, k.stay = i, 1
	} else if from == k.turn%len(k.peers) {
		k.turn++
		k.stay = 1
	}
}

// onlyAsked reports whether no other peer than i has been asked.
func (k *call) onlyAsked(i int) bool {
	for j, t := range k.tries {
		if j != i && t.attempts > 0 {
			return false
		}
	}
	return true
}

// mayHedge reports whether peer i may be asked while others may still answer. In
// the plain dialect, which has no ids, a change could take effect twice.
func (k *call) mayHedge(i int) bool {
	k.c.mu.Lock()
	plain := k.c.isPlain(k.peers[i])
	k.c.mu.Unlock()
	if k.kind == change {
		return !plain && k.plainConn == nil
	}
	return !plain || len(k.open) == 1
}

// settle records how the registries have answered.
func (k *call) settle() {
	now := time.Now()
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	for i, t := range k.tries {
		if t.attempts == 0 {
			continue
		}
		switch h := k.c.health.of(k.peers[i]); {
		case t.answered:
			h.answered(k.kind, t.took, t.attempts)
		case k.refused.has(i) || now.Sub(t.first) >= h.usual(k.kind, k.first):
			h.failed(now)
		}
	}
}

// attempted counts an attempt to peer i. After the first one it has the time that
// it usually takes before another one is asked.
func (k *call) attempted(i int) {
	if k.tries == nil {
		return
	}
	t := &k.tries[i]
	t.attempts++
	t.last = time.Now()
	if t.attempts == 1 {
		t.first = t.last
		k.hedging.Reset(k.c.health.of(k.peers[i]).usual(k.kind, k.first))
	}
}
