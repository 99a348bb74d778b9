package load

import (
	"encoding/binary"
	"encoding/hex"
)

// The rooms of a load are numbered, and scattered: consecutive numbers are far
// apart in the order of names and addresses, as in real life. Names in order
// would make a B+tree look five to ten times as fast. All have the same length.

// AppendName appends the name of room n: "room-" and 16 hexadecimal digits.
func AppendName(dst []byte, n uint64) []byte {
	// The finaliser of SplitMix64, which maps 64 bits one to one.
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	n ^= n >> 31
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	dst = append(dst, "room-"...)
	return hex.AppendEncode(dst, b[:])
}

const (
	octets    = 150 // 100 to 249, each of three digits
	ports     = 50000
	addresses = octets * octets * octets * ports // 168 billion
	// A prime that does not divide addresses: multiplying by it is one to one.
	scatter = 104_395_301
)

// AppendAddress appends the address of room n, room://10.a.b.c:p with all
// numbers of full length.
func AppendAddress(dst []byte, n uint64) []byte {
	n = n % addresses * scatter % addresses
	dst = append(dst, "room://10."...)
	dst = appendDigits(dst, 100+n%octets, 3)
	n /= octets
	dst = append(dst, '.')
	dst = appendDigits(dst, 100+n%octets, 3)
	n /= octets
	dst = append(dst, '.')
	dst = appendDigits(dst, 100+n%octets, 3)
	n /= octets
	dst = append(dst, ':')
	return appendDigits(dst, 10000+n, 5)
}

func appendDigits(dst []byte, v uint64, digits int) []byte {
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	for i := at + digits - 1; v > 0; i-- {
		dst[i] = '0' + byte(v%10)
		v /= 10
	}
	return dst
}

// appendID appends a version 7 UUID of the given time in Unix milliseconds. Its
// last 8 bytes are tail, with the variant put in; tail has 62 bits.
func appendID(dst []byte, ms, middle, tail uint64) []byte {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], ms<<16|0x7000|middle&0xfff)
	binary.BigEndian.PutUint64(u[8:], 1<<63|tail&(1<<62-1))
	for _, part := range [][]byte{u[:4], u[4:6], u[6:8], u[8:10]} {
		dst = hex.AppendEncode(dst, part)
		dst = append(dst, '-')
	}
	return hex.AppendEncode(dst, u[10:])
}
