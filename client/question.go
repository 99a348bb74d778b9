package client

import (
	"crypto/ed25519"
	"encoding/base64"
	"time"

	"foyer"
	"foyer/wire"

	"github.com/google/uuid"
)

// A question is a request to a registry that has no id yet.
type question struct {
	request wire.Request       // in canonical form
	key     ed25519.PrivateKey // to sign it with, or nil
}

// newQuestion checks r and returns the request. Its error is a [*foyer.Error].
func newQuestion(verb wire.Verb, r Registration) (*question, error) {
	name, err := foyer.ParseName(string(r.Name))
	if err != nil {
		return nil, err
	}
	q := &question{request: wire.Request{Verb: verb, Name: []byte(name)}, key: r.Key}
	if verb.HasAddress() {
		addr, err := foyer.ParseAddress(string(r.Address))
		if err != nil {
			return nil, err
		}
		q.request.Address = []byte(addr)
		if r.TTL < 0 {
			return nil, foyer.Errorf(foyer.Malformed, "the lease must not be negative: %v", r.TTL)
		}
		if r.TTL > 0 {
			q.request.HasTTL, q.request.TTL = true, uint64((r.TTL+time.Second-1)/time.Second)
		}
	}
	if r.Key != nil {
		if len(r.Key) != ed25519.PrivateKeySize {
			return nil, foyer.Errorf(foyer.BadSignature, "the private key is not %d bytes long", ed25519.PrivateKeySize)
		}
		if verb == wire.Register {
			public := foyer.Key(r.Key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
			q.request.Key = []byte(public.String())
		}
	}
	if verb == wire.Register {
		q.request.Exits = r.Exits.Encode()
	}
	return q, nil
}

func (q *question) kind() kind {
	if q.request.Verb == wire.Register || q.request.Verb == wire.Deregister {
		return change
	}
	return read
}

func (q *question) name() foyer.Name { return foyer.Name(q.request.Name) }

// tagged returns the request with an id.
func (q *question) tagged(id uuid.UUID) []byte {
	line := q.unsigned(id)
	if q.key != nil {
		line = wire.Sign(line, q.key)
	}
	return line
}

func (q *question) unsigned(id uuid.UUID) []byte {
	r := q.request
	r.ID = []byte(id.String())
	return wire.AppendRequest(nil, &r)
}

// size returns the length of what tagged returns, without signing.
func (q *question) size() int {
	n := len(q.unsigned(uuid.Nil))
	if q.key != nil {
		n += len(";sig=") + base64.RawURLEncoding.EncodedLen(ed25519.SignatureSize)
	}
	return n
}

// plain returns the request in the plain dialect, where a renewal is a look-up.
func (q *question) plain() []byte {
	r := wire.Request{Verb: q.request.Verb, Address: q.request.Address, Name: q.request.Name}
	if r.Verb == wire.Renew {
		r.Verb, r.Address = wire.Lookup, nil
	}
	return wire.AppendRequest(nil, &r)
}

// stands returns an error unless found, the address that a registry has for the
// name, is that of the registration.
func (q *question) stands(found foyer.Address) error {
	if string(found) != string(q.request.Address) {
		return foyer.Errorf(foyer.Replaced, "name %q is now registered at %s", q.request.Name, found)
	}
	return nil
}
