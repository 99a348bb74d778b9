package foyer

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/netip"
	"time"
)

// An ID is a request's UUID (RFC 9562), its 16 bytes in network order. It is
// assignable from and to the UUID of github.com/google/uuid.
type ID = [16]byte

// A Key is an owner's Ed25519 public key (RFC 8032); the zero Key means that
// there is no owner.
type Key [ed25519.PublicKeySize]byte

// ParseKey reads what [Key.String] writes. Its error is a [*Error] of code
// [Malformed].
func ParseKey(s string) (Key, error) {
	var k Key
	if base64.RawURLEncoding.DecodedLen(len(s)) != len(k) {
		return Key{}, errBadKey
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(k[:], []byte(s)); err != nil || k.IsZero() {
		return Key{}, errBadKey
	}
	return k, nil
}

var errBadKey = &Error{Malformed, "the key is not 32 bytes in base64url without padding"}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// String returns the key in base64url without padding (RFC 4648, section 5),
// or the empty string for the zero Key.
func (k Key) String() string {
	if k.IsZero() {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(k[:])
}

// A Registration says that a room has a name and listens at an address.
type Registration struct {
	Name    Name
	Address Address

	// RegisteredAt is when the name was last given this address, in UTC and
	// whole milliseconds.
	RegisteredAt time.Time

	// TTL is the granted lease in whole seconds, 0 for a registration that
	// stays until it is deregistered.
	TTL time.Duration

	// LeaseEnd is when the lease runs out by the registry's lease clock, as
	// last stored; renewals move the end in memory only. Meaningless if TTL is
	// 0.
	LeaseEnd time.Duration

	// Exits are where the room has said that its exits lead.
	Exits Exits

	// Owner is the key that later requests for the name must be signed with.
	Owner Key

	// From is the IP address that the request came from, unmapped. Without an
	// owner, only that address can end the registration.
	From netip.Addr
}
