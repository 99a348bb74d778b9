package discovery

import (
	"sync"
	"time"

	"foyer"
)

// A lease is one name's in the table.
type lease struct {
	name foyer.Name
	addr foyer.Address
	end  time.Duration // by the lease clock

	// asked is the latest time, in Unix milliseconds, of a request that said how
	// long the lease is to be. What an older one says does not count any more.
	asked int64

	// The list of leases in the same slot of the wheel.
	prev, next *lease

	// 80 bytes in all: the allocator's next larger size is 96.
	seconds uint32 // of the ttl
	heard   uint32 // when its room was last heard, in ticks of the lease clock, and 1; 0 if it was not
	slot    int32  // of the wheel; out while the lease is taken out to expire
	late    bool   // this lease's lateness was reported
}

func (l *lease) ttl() time.Duration { return time.Duration(l.seconds) * time.Second }

// ticksOf returns when a room was heard, as lease.heard has it.
func ticksOf(heard time.Duration) uint32 { return uint32(heard/tick + 1) }

// lastHeard returns when the lease's room was heard, or unheard.
func (l *lease) lastHeard() time.Duration {
	if l.heard == 0 {
		return unheard
	}
	return time.Duration(l.heard-1) * tick
}

// renewal says what became of a request to renew.
type renewal uint8

const (
	renewed     renewal = iota
	renewedLate         // with less than a third of the lease left, for the first time
	notLeased           // no such lease
	expiring            // the writer is about to end it; ask the writer
)

// leases is the table of running leases: by name, and by end in a timing wheel
// with a slot for each second, so that to renew and to expire one costs the same
// however many there are. It holds one entry for each registration with a
// lease, which bounds it.
type leases struct {
	mu     sync.Mutex
	byName map[foyer.Name]*lease
	wheel  [wheelSlots]*lease // list heads
	counts [wheelSlots]int32  // of the leases in each list
	listed int                // in all
	done   int64              // slots up to this second have been emptied

	// No lease ends before floor plus its ttl, or plus leaseGrace if that is
	// less: the lease clock's reading at the start or the last stall.
	floor time.Duration
}

// wheelSlots is a power of two above MaxTTL and any grace in seconds, so that
// a slot never holds leases of two different seconds; its heads and counts take
// 1.5 MiB.
const wheelSlots = 1 << 17

// out is the slot of a lease that is in none.
const out = -1

// unheard is when a room was heard of which this process has heard nothing.
const unheard = time.Duration(-1)

func newLeases(now time.Duration) *leases {
	return &leases{byName: make(map[foyer.Name]*lease), floor: now, done: second(now)}
}

// second is the slot time in which a lease that ends at d has surely ended.
func second(d time.Duration) int64 { return int64(d / time.Second) }

// put gives a name the lease of r, or none, as a request of the time asked wants it
// that was heard at another. A registration replaced is renewed.
func (t *leases) put(r *foyer.Registration, asked int64, heard time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(r.Name)
	if r.TTL == 0 {
		return
	}
	// Copies: the strings of a Store's registration may keep far more alive.
	both := string(r.Name) + string(r.Address)
	l := &lease{name: foyer.Name(both[:len(r.Name)]), addr: foyer.Address(both[len(r.Name):]), end: r.LeaseEnd, asked: asked, seconds: uint32(r.TTL / time.Second)}
	if heard != unheard {
		l.heard = ticksOf(heard)
	}
	t.byName[r.Name] = l
	t.insert(l)
}

func (t *leases) drop(name foyer.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(name)
}

// outruns reports whether the lease of reg, if it is renewed now, ends later than
// loadLeases makes of the end that is written. Then the new end is written before the
// renewal is answered.
func outruns(reg *foyer.Registration, now time.Duration) bool {
	return reg.TTL > longLease && now+tick+reg.TTL > reg.LeaseEnd+checkpointEvery
}

// renew starts the lease of name at addr anew, for a request of the time asked
// that wants it to be as long as it is, or 0 if it did not say. It takes bytes so
// that the caller need not allocate.
func (t *leases) renew(name []byte, addr foyer.Address, now time.Duration, asked int64) renewal {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byName[foyer.Name(name)]
	if l == nil || l.addr != addr {
		return notLeased
	}
	if l.slot == out {
		return expiring
	}
	l.asked = max(l.asked, asked)
	return t.extend(l, now)
}

// ask notes that a request of the time asked says how long the lease of name is to
// be, and reports whether there is such a lease and no later request has said it.
func (t *leases) ask(name foyer.Name, asked int64) (latest bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byName[name]
	if l == nil || asked < l.asked {
		return false
	}
	l.asked = asked
	return true
}

// rescue renews a lease that the writer found not to have ended after all.
func (t *leases) rescue(name foyer.Name, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.byName[name]; l != nil {
		t.extend(l, now)
	}
}

func (t *leases) extend(l *lease, now time.Duration) renewal {
	// The clock's reading may be a tick old, and a lease must not end early.
	end := now + tick + l.ttl()
	l.heard = ticksOf(now)
	late := l.end-now < l.ttl()/3
	report := late && !l.late
	l.late = late
	if l.slot != out {
		if second(l.end) == second(end) {
			l.end = end
			return renewed
		}
		t.unlink(l)
	}
	l.end = end
	t.insert(l)
	if report {
		return renewedLate
	}
	return renewed
}

// setFloor grants every lease its grace from now on.
func (t *leases) setFloor(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.floor = now
}

// expire takes leases out of the wheel that have ended by now and appends their
// names. They stay in the table until drop or rescue, or until restore puts them
// back. It looks at no more than limit leases and costs O(limit + seconds
// passed); what is left then, see behind, is for the next call.
func (t *leases) expire(names []foyer.Name, now time.Duration, limit int) []foyer.Name {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; t.done < lastSecond(now); t.done++ {
		for l := t.wheel[(t.done+1)%wheelSlots]; l != nil; {
			next := l.next
			switch grace := t.floor + min(l.ttl(), leaseGrace) + tick; {
			case second(l.end) > t.done+1:
				// Emptying lags so far behind that the wheel came round: not yet.
			case limit == 0:
				return names
			case l.end < grace && second(grace) > t.done+1:
				limit--
				t.unlink(l)
				l.end = grace
				t.insert(l)
			default:
				limit--
				t.unlink(l)
				names = append(names, l.name)
			}
			l = next
		}
	}
	return names
}

// behind reports whether expire has left something to be looked at.
func (t *leases) behind(now time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done < lastSecond(now)
}

// lastSecond is the last slot time whose leases have surely all ended by now:
// the current second's slot may hold some that have not.
func lastSecond(now time.Duration) int64 { return second(now) - 1 }

// restore puts leases back whose end could not be written; they are tried again
// within a second or two.
func (t *leases) restore(names []foyer.Name, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if l := t.byName[name]; l != nil && l.slot == out {
			l.end = now
			t.insert(l)
		}
	}
}

// at returns when the lease of name at addr ends and when its room was last heard.
func (t *leases) at(name foyer.Name, addr foyer.Address) (end, heard time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byName[name]
	if l == nil || l.addr != addr {
		return 0, 0, false
	}
	return l.end, l.lastHeard(), true
}

func (t *leases) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byName)
}

// under returns for each of leaseBounds how many leases have less than that left, and
// for the last how many there are. It looks at a slot for each second up to the last
// but one, an hour, and at no lease.
func (t *leases) under(now time.Duration) (n [len(leaseBounds)]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum, s := len(t.byName)-t.listed, t.done+1 // those that are taken out to expire
	for i, bound := range leaseBounds[:len(leaseBounds)-1] {
		for ; s < second(now+bound); s++ {
			sum += int(t.counts[s%wheelSlots])
		}
		n[i] = sum
	}
	n[len(n)-1] = len(t.byName)
	return n
}

func (t *leases) remove(name foyer.Name) {
	if l := t.byName[name]; l != nil {
		delete(t.byName, name)
		if l.slot != out {
			t.unlink(l)
		}
	}
}

func (t *leases) insert(l *lease) {
	l.slot = int32(max(second(l.end), t.done+1) % wheelSlots)
	t.counts[l.slot]++
	t.listed++
	head := &t.wheel[l.slot]
	l.prev, l.next = nil, *head
	if l.next != nil {
		l.next.prev = l
	}
	*head = l
}

func (t *leases) unlink(l *lease) {
	t.counts[l.slot]--
	t.listed--
	if l.next != nil {
		l.next.prev = l.prev
	}
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		t.wheel[l.slot] = l.next
	}
	l.slot, l.prev, l.next = out, nil, nil
}
