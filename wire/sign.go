package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"slices"

	"foyer"
)

const sigTag = ";sig="

// sigSize is the length of a signature on the line, in bytes: the tag's key and
// 64 bytes in base64url without padding.
const sigSize = len(sigTag) + (ed25519.SignatureSize*8+5)/6

// Sign returns line, which must begin with tags, with the tag sig added as the
// last tag. It signs every other byte of the line.
func Sign(line []byte, key ed25519.PrivateKey) []byte {
	sig := ed25519.Sign(key, line)
	tag := make([]byte, 0, sigSize)
	tag = append(tag, sigTag...)
	tag = base64.RawURLEncoding.AppendEncode(tag, sig)
	return slices.Insert(slices.Clone(line), bytes.IndexByte(line, ' '), tag...)
}

// Verify reports whether line, as received, was signed with key. sig is the
// value of its tag sig, as a view into line. It takes about 50 µs.
func Verify(line, sig []byte, key foyer.Key) bool {
	var raw [ed25519.SignatureSize]byte
	if base64.RawURLEncoding.DecodedLen(len(sig)) != len(raw) {
		return false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], sig); err != nil {
		return false
	}
	end := bytes.IndexByte(line, ' ')
	start := end - len(sig) - len(sigTag)
	if start < 1 {
		return false
	}
	signed := make([]byte, 0, MaxDatagram)
	signed = append(signed, line[:start]...)
	signed = append(signed, line[end:]...)
	return ed25519.Verify(key[:], signed, raw[:])
}
