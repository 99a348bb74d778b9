package room

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"
)

// cookies prove that a sender receives what is sent to its IP address, as in
// DTLS (RFC 6347, section 4.2.1) and DNS (RFC 7873): the room sends a
// stranger's address a cookie that nobody else can know, and believes the
// address when the cookie comes back. Nothing is stored until then.
type cookies struct {
	mac hash.Hash // HMAC-SHA256 under a key of this run
	sum []byte
}

// cookieWindow is how long a cookie is handed out; it is valid for one window
// more. The id of a join is kept as long as its cookie is valid, see keepSpent,
// so that a late copy is either recognized or refused.
const cookieWindow = 30 * time.Second

func newCookies() cookies {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return cookies{mac: hmac.New(sha256.New, key)}
}

// of returns the cookie of an address at a time, 128 bits.
func (c *cookies) of(at time.Time, a netip.Addr) string {
	var message [24]byte
	binary.BigEndian.PutUint64(message[:8], uint64(at.UnixNano()/int64(cookieWindow)))
	ip := a.As16()
	copy(message[8:], ip[:])
	c.mac.Reset()
	c.mac.Write(message[:])
	c.sum = c.mac.Sum(c.sum[:0])
	return base64.RawURLEncoding.EncodeToString(c.sum[:16])
}

// valid reports whether cookie was sent to an address recently.
func (c *cookies) valid(now time.Time, a netip.Addr, cookie []byte) bool {
	for _, at := range []time.Time{now, now.Add(-cookieWindow)} {
		if hmac.Equal(cookie, []byte(c.of(at, a))) {
			return true
		}
	}
	return false
}
