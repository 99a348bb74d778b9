package discovery

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"foyer"
	"foyer/storage"
	"foyer/wire"
)

var (
	errBadSignature = &foyer.Error{Code: foyer.BadSignature, Text: "the signature does not fit the request and the key"}
	errUnsigned     = &foyer.Error{Code: foyer.NotOwner, Text: "the name has an owner: the request must be signed with the owner's key"}
	errOtherKey     = &foyer.Error{Code: foyer.NotOwner, Text: "the name belongs to another key"}
	errOtherSource  = &foyer.Error{Code: foyer.NotOwner, Text: "the name was registered from another IP address"}
	errUnauthorized = &foyer.Error{Code: foyer.Unauthorized, Text: "this registry takes registrations from authorized keys only"}
	errForeign      = &foyer.Error{Code: foyer.ForeignAddress, Text: "the address is not the one that the request comes from: advertise an address of your own, or ask the operator"}
	errIDReused     = &foyer.Error{Code: foyer.IDReused, Text: "the id was used for another request"}
	errTooOld       = &foyer.Error{Code: foyer.StaleRequest, Text: "the id is more than 5 minutes old"}
	errTooFarAhead  = &foyer.Error{Code: foyer.StaleRequest, Text: "the id is more than 5 minutes ahead of the registry's clock"}
	errUnknown      = &foyer.Error{Code: foyer.UnknownName, Text: "no room of that name is registered"}
	errMoved        = &foyer.Error{Code: foyer.Replaced, Text: "the name is now registered at another address"}
)

// grant returns the lease that is granted when ttl seconds are asked for.
func grant(ttl uint64) time.Duration {
	return min(max(time.Duration(min(ttl, uint64(MaxTTL/time.Second)))*time.Second, MinTTL), MaxTTL)
}

// A decision is what the rules make of a request: a refusal, or a grant with
// the lease that goes with it; and what is to change.
type decision struct {
	err    *foyer.Error
	ttl    time.Duration // 0 without a lease
	event  storage.Event // Kind 0: nothing changes
	rescue bool          // start the lease anew, in memory
	was    netip.Addr    // whose name it was so far, if it was registered: Registration.From
}

func refuse(err *foyer.Error) decision { return decision{err: err} }

// renewAsGranted decides that a lease is started anew as it was granted.
func renewAsGranted(reg *foyer.Registration) decision {
	return decision{ttl: reg.TTL, event: storage.Event{Registration: *reg}, rescue: true}
}

// lasts reports whether a decision is an outcome, to be kept under the id of r. It
// is not if it may be another one the next time: when too much is there, or when the
// operator has allowed a name again. What is too old stays so for ever, without a
// record. Of a RENEW only a change is kept: others may be repeated.
func (d *decision) lasts(r *request) bool {
	switch {
	case !r.recorded():
		return false
	case r.Verb == wire.Renew:
		return d.event.Kind != 0
	case d.err == nil:
		return true
	}
	return d.err != errTooOld && d.err != errRestored && d.err != errIDReused && d.err.Code != foyer.Evicted && !d.err.Code.Temporary()
}

// A transaction carries out requests in one storage.Tx and gathers what is to
// be done in memory once it is durable.
type transaction struct {
	storage.Tx
	now       storage.Instant
	server    *Server
	changeLog *changeLog
	effects   []effect
	asks      map[foyer.Name]int64 // of leases that it has granted to a REGISTER, as in lease.asked
	changed   bool                 // something was applied or recorded
	holds     bool                 // a name was held, or let go
}

// An effect changes the table of leases.
type effect struct {
	registration foyer.Registration
	kind         storage.Kind // 0 if that is not known, of a transaction in doubt
	was          netip.Addr   // Registration.From before, if it was registered
	ends, rescue bool
	asked        int64 // as in lease
	heard        bool  // from the room itself
}

// carryOut carries out the lines of x from the one in hand on, and answers them. An
// error is a failure of the storage; the transaction must be given up.
func (t *transaction) carryOut(x *exchange) error {
	for x.read(1) {
		fits, err := t.carryOutLine(x, x.request())
		if err != nil {
			return err
		}
		if !fits {
			x.dropRest()
		} else {
			x.at++
		}
	}
	return nil
}

// carryOutLine does what one line says and answers it. It returns fits false, and
// has done nothing, if the reply does not fit any more.
func (t *transaction) carryOutLine(x *exchange, r *request) (fits bool, err error) {
	if r.err != nil {
		return x.unreadable(r), nil
	}
	if r.Verb == wire.Lookup {
		reg, err := t.Get(foyer.Name(r.name))
		if errors.Is(err, foyer.ErrUnknownName) {
			return x.refuse(r, errUnknown, 0), nil
		} else if err != nil {
			return false, err
		}
		return x.found(r, &reg), nil
	}
	var fingerprint [16]byte
	if r.recorded() {
		sum := sha256.Sum256(r.line)
		fingerprint = [16]byte(sum[:])
		switch o, ok, err := t.Outcome(r.UUID); {
		case err != nil:
			return false, err
		case ok && o.Fingerprint == fingerprint:
			return x.out.end(append(x.out.line(), o.Reply...), replayed(r.Verb, o.Reply)), nil
		case ok:
			return x.refuse(r, errIDReused, 0), nil
		}
	}
	d, err := t.decide(x, r)
	if err != nil {
		return false, err
	}
	once := d.lasts(r)
	if refusal := t.admit(x, r, &d, once); refusal != nil {
		d, once = refuse(refusal), false
		if r.Verb == wire.Renew { // nothing is in the way of renewing what was granted
			reg, err := t.Get(foyer.Name(r.name))
			if err != nil {
				return false, err
			}
			d = renewAsGranted(&reg)
		}
	}
	if !x.reply(r, &d, t.now.Wall) {
		return false, nil
	}
	if d.event.Kind != 0 {
		t.changed = true
		if err := t.Apply(d.event); err != nil {
			return false, err
		}
		e := effect{registration: d.event.Registration, kind: d.event.Kind, was: d.was, ends: d.event.Kind.Ends(), asked: t.asked(r), heard: true}
		if r.Verb == wire.Register && d.ttl > 0 {
			t.grantedAt(e.registration.Name, e.asked)
		}
		t.effects = append(t.effects, e)
		t.server.quota.used(d.event.Kind, &e)
	}
	if d.rescue {
		if err := t.rescue(d.event.Registration); err != nil {
			return false, err
		}
	}
	if once {
		t.changed = true
		err = t.Record(storage.Outcome{ID: r.UUID, Fingerprint: fingerprint, Reply: x.out.buf[x.out.mark:]})
	}
	return err == nil, err
}

// asked returns the time of a request, in Unix milliseconds.
func (t *transaction) asked(r *request) int64 {
	if r.isV7() {
		return r.idTime()
	}
	return t.now.Wall.UnixMilli()
}

// reply answers a request as decided.
func (x *exchange) reply(r *request, d *decision, now time.Time) bool {
	if d.err != nil {
		var ms uint64
		if d.err.Code == foyer.StaleRequest {
			ms = uint64(now.UnixMilli())
		}
		return x.refuse(r, d.err, ms)
	}
	ttl := int64(-1)
	if d.ttl > 0 {
		ttl = int64(d.ttl / time.Second)
	}
	return x.out.end(wire.AppendOK(x.out.line(), &r.Tags, ttl, ""), granted(r.Verb))
}

// found answers a look-up.
func (x *exchange) found(r *request, reg *foyer.Registration) bool {
	ttl := cacheTTL
	if reg.TTL > 0 {
		ttl = min(ttl, reg.TTL)
	}
	return x.out.end(wire.AppendOK(x.out.line(), &r.Tags, int64(ttl/time.Second), string(reg.Address)), granted(r.Verb))
}

func (t *transaction) decide(x *exchange, r *request) (decision, error) {
	if r.recorded() && r.Verb != wire.Renew || r.signed() {
		if err := r.checkTime(t.now.Wall); err != nil {
			return refuse(err), nil
		}
		if err := r.checkRestored(t.server.restored); err != nil {
			return refuse(err), nil
		}
	}
	name := foyer.Name(r.name)
	reg, err := t.Get(name)
	known := err == nil
	if err != nil && !errors.Is(err, foyer.ErrUnknownName) {
		return decision{}, err
	}
	var d decision
	switch {
	case r.Verb == wire.Register:
		if d, err = t.register(x, r, name, &reg, known); err != nil {
			return decision{}, err
		}
	case !known:
		d = refuse(errUnknown)
	case r.Verb == wire.Deregister:
		d = t.deregister(x, r, &reg)
	default:
		d = t.renew(x, r, &reg)
	}
	d.was = reg.From
	return d, nil
}

// register decides on a REGISTER of name; reg is what it has now, if known.
func (t *transaction) register(x *exchange, r *request, name foyer.Name, reg *foyer.Registration, known bool) (decision, error) {
	if !t.server.authorized(r.key) {
		return refuse(errUnauthorized), nil
	}
	if err := t.refuseHeld(name); err != nil {
		return refuse(err), nil
	}
	kind := storage.Registered
	if known {
		if reg.Owner.IsZero() || r.key.IsZero() {
			return refuse(foyer.Errorf(foyer.NameTaken, "name %q is already registered", reg.Name)), nil
		}
		if reg.Owner != r.key {
			return refuse(errOtherKey), nil
		}
		kind = storage.Replaced
	}
	if !t.server.believes(x, r) {
		return refuse(errForeign), nil
	}
	switch holder, err := t.NameAt(r.addr); {
	case errors.Is(err, foyer.ErrUnknownName):
	case err != nil:
		return decision{}, err
	case holder != name:
		return refuse(foyer.Errorf(foyer.AddressTaken, "address %s is already registered", r.addr)), nil
	}
	if !r.key.IsZero() {
		if err := r.checkSignature(r.key); err != nil {
			return refuse(err), nil
		}
	}
	d := decision{event: storage.Event{
		Kind: kind,
		Time: t.now.Wall,
		From: x.from(),
		Registration: foyer.Registration{
			Name:         name,
			Address:      r.addr,
			RegisteredAt: t.now.Wall,
			Exits:        r.exits,
			Owner:        r.key,
			From:         x.from(),
		},
	}}
	if r.HasTTL {
		d.ttl = grant(r.TTL)
		d.event.Registration.TTL = d.ttl
		d.event.Registration.LeaseEnd = t.now.Lease + tick + d.ttl
	}
	return d, nil
}

// believes reports whether the sender of a REGISTER may claim its address: an
// IP address is nobody else's to give away. Whether a DNS name is the sender's
// would take a look-up, which is not made. The signature is checked elsewhere.
func (s *Server) believes(x *exchange, r *request) bool {
	if s.anyAddress || x.from().IsLoopback() {
		return true
	}
	ip, ok := r.addr.IP()
	return !ok || ip == x.from() || s.trusts(r.key)
}

func (t *transaction) deregister(x *exchange, r *request, reg *foyer.Registration) decision {
	if err := x.checkOwner(r, reg); err != nil {
		return refuse(err)
	}
	return decision{event: storage.Event{
		Kind:         storage.Deregistered,
		Time:         t.now.Wall,
		From:         x.from(),
		Registration: *reg,
	}}
}

// renew decides on a RENEW that could not be answered from memory: one that asks
// for another ttl, comes while the lease is about to be ended, or is to be refused
// unless it was carried out before.
func (t *transaction) renew(x *exchange, r *request, reg *foyer.Registration) decision {
	if err := x.checkRenew(r, reg); err != nil {
		return refuse(err)
	}
	d := renewAsGranted(reg)
	// Whoever says again what is granted is to be noted as well.
	latest := reg.TTL > 0 && r.recorded() && r.checkTime(t.now.Wall) == nil && t.ask(reg.Name, r.idTime())
	if ttl := grant(r.TTL); latest && ttl != reg.TTL {
		d.ttl, d.rescue = ttl, false
		d.event.Kind, d.event.Time, d.event.From = storage.Extended, t.now.Wall, x.from()
		d.event.Registration.TTL = ttl
		d.event.Registration.LeaseEnd = t.now.Lease + tick + ttl
	}
	return d
}

// rescue starts the lease of reg anew as it was granted, and writes its end if that is
// due.
func (t *transaction) rescue(reg foyer.Registration) error {
	if outruns(&reg, t.now.Lease) {
		reg.LeaseEnd = t.now.Lease + tick + reg.TTL
		t.changed = true
		if err := t.Apply(storage.Event{Kind: storage.Extended, Time: t.now.Wall, Registration: reg}); err != nil {
			return err
		}
	}
	t.effects = append(t.effects, effect{registration: reg, was: reg.From, rescue: true})
	return nil
}

// grantedAt notes when a lease was asked for that is in no table yet.
func (t *transaction) grantedAt(name foyer.Name, asked int64) {
	if t.asks == nil {
		t.asks = make(map[foyer.Name]int64)
	}
	t.asks[name] = asked
}

// ask is leases.ask, also for the leases of this transaction.
func (t *transaction) ask(name foyer.Name, asked int64) (latest bool) {
	at, here := t.asks[name]
	if !here {
		return t.server.leases.ask(name, asked)
	}
	if asked < at {
		return false
	}
	t.asks[name] = asked
	return true
}

// checkRenew says whether the request may renew reg.
func (x *exchange) checkRenew(r *request, reg *foyer.Registration) *foyer.Error {
	if string(r.Address) != string(reg.Address) {
		addr, err := foyer.ParseAddress(string(r.Address))
		if refusal, ok := errors.AsType[*foyer.Error](err); ok {
			return refusal
		}
		if addr != reg.Address {
			return errMoved
		}
	}
	return x.checkOwner(r, reg)
}

// checkOwner says whether the request may change reg: it must be signed with the
// owner's key, or where there is none come from the IP address that registered it.
func (x *exchange) checkOwner(r *request, reg *foyer.Registration) *foyer.Error {
	if reg.Owner.IsZero() {
		if reg.From.IsValid() && reg.From != x.from() {
			return errOtherSource
		}
		return nil
	}
	if !r.signed() {
		return errUnsigned
	}
	return r.checkSignature(reg.Owner)
}
