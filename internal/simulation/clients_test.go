package simulation

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"foyer"
	"foyer/client"
	"foyer/wire"
)

// An actor is one client, on its own host, that makes a request every now and
// then.
type actor struct {
	world    *world
	district *district
	number   int
	host     netip.Addr
	rand     *rand.Rand
	client   *client.Client
	pause    time.Duration // between two operations, on average

	// What it registered last, which it renews and ends most of the time.
	name, address, owner int
}

// A district is a set of names and addresses that some actors contend for.
type district struct {
	number    int
	names     [namesPerDistrict]foyer.Name
	addresses [addressesPerDistrict]foyer.Address
	keys      [keysPerDistrict]ed25519.PrivateKey // of owners, each of which may be several actors

	ttls [ttlsPerDistrict]time.Duration // the leases that are asked for
}

func newDistrict(number int, ttls [ttlsPerDistrict]time.Duration) *district {
	d := &district{number: number, ttls: ttls}
	for i := range d.names {
		d.names[i] = foyer.Name(fmt.Sprintf("Room %d of %d", i, number))
	}
	for i := range d.addresses {
		d.addresses[i] = foyer.Address(fmt.Sprintf("room://198.51.100.%d:%d", number, 4000+i))
	}
	for i := range d.keys {
		var seed [ed25519.SeedSize]byte
		binary.BigEndian.PutUint32(seed[:], uint32(number*len(d.keys)+i))
		d.keys[i] = ed25519.NewKeyFromSeed(seed[:])
	}
	return d
}

// exitsAt returns what a room at an address tells of its exits, which two thirds
// of them do.
func exitsAt(a foyer.Address) foyer.Exits {
	if len(a) == 0 || a[len(a)-1]%3 == 0 {
		return ""
	}
	return foyer.Exits("n:room at " + a)
}

func (d *district) find(a foyer.Address) int {
	for i := range d.addresses {
		if d.addresses[i] == a {
			return i
		}
	}
	return none
}

// run performs n operations.
func (a *actor) run(n int) {
	for range n {
		time.Sleep(time.Duration(a.rand.ExpFloat64() * float64(a.pause)))
		a.perform(a.choose())
	}
}

// choose draws the next operation: most concern what the actor has, some what
// others have, and some claim what belongs to somebody else.
func (a *actor) choose() *operation {
	r := a.rand
	op := &operation{
		district: a.district.number, actor: a.number, from: a.number,
		name: r.IntN(namesPerDistrict), address: r.IntN(addressesPerDistrict), owner: r.IntN(keysPerDistrict+1) + none,
	}
	own := r.Float64() < a.world.climate.own
	if own {
		op.name, op.address, op.owner = a.name, a.address, a.owner
	}
	ttl := a.district.ttls[r.IntN(ttlsPerDistrict)]
	leased := r.Float64() < 0.8
	switch what := r.Float64(); {
	case what < 0.3:
		op.verb, op.address, op.owner = wire.Lookup, none, none
		op.name = r.IntN(namesPerDistrict)
	case what < 0.3+a.world.climate.registers:
		op.verb = wire.Register
		if own { // with another address: a takeover, if it has a key
			op.address = r.IntN(addressesPerDistrict)
		}
		if leased {
			op.ttl = ttl
		}
		a.name, a.address, a.owner = op.name, op.address, op.owner
	case what < 0.8:
		op.verb = wire.Renew
		if leased {
			op.ttl = ttl
		}
	default:
		op.verb, op.address = wire.Deregister, none
	}
	return op
}

// perform carries out an operation and adds it to the history.
func (a *actor) perform(op *operation) {
	reg := client.Registration{Name: a.district.names[op.name], TTL: op.ttl}
	if op.address != none {
		reg.Address = a.district.addresses[op.address]
	}
	if op.owner != none {
		reg.Key = a.district.keys[op.owner]
	}
	reg.Exits = exitsAt(reg.Address)
	a.world.tap.call(a.host, op)
	var err error
	ctx := context.Background()
	op.called = a.world.time.now()
	op.answer.address = none
	switch op.verb {
	case wire.Register:
		op.answer.ttl, err = a.client.Register(ctx, reg)
	case wire.Renew:
		op.answer.ttl, err = a.client.Renew(ctx, reg)
	case wire.Deregister:
		err = a.client.Deregister(ctx, reg.Name, reg.Key)
	default:
		var found client.Answer
		found, err = a.client.Lookup(ctx, reg.Name)
		op.answer.address = a.district.find(found.Address)
	}
	op.returned = a.world.time.now()
	if err != nil {
		refusal, ok := errors.AsType[*foyer.Error](err)
		switch {
		case errors.Is(err, client.ErrNoAnswer), ok && refusal.Code.Temporary():
			op.answer.unknown = true
		case ok:
			op.answer.code = refusal.Code
		default:
			a.world.problems.add("%v: %v", op, err)
		}
	}
	a.world.history.add(op)
}
