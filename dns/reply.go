package dns

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"foyer"
)

// How long answers may be cached.
const (
	// roomTTL is for what is there: a room that moves, or ends before its lease
	// does, is looked for in the wrong place so long. It is never longer than the
	// lease still runs.
	roomTTL = 5 * time.Second

	// negativeTTL is for what is not there (RFC 2308): so long a new room is not
	// found by whoever has asked for it before.
	negativeTTL = 2 * time.Second

	// apexTTL is for the records of the domain itself.
	apexTTL = 5 * time.Minute
)

const (
	// maxSize is the longest message over UDP, in bytes: it is not fragmented on
	// any way that carries IPv6. The DNS flag day of 2020 recommends it.
	maxSize = 1232

	// minSize is what every client takes in over UDP (RFC 1035, section 2.3.4).
	minSize = 512

	// amplification is how many bytes are sent over UDP for one received, at most:
	// whoever forges the address of another gains little by asking here.
	amplification = 3
)

// limitUDP returns how long the reply to a query of so many bytes may be over UDP.
func (q *query) limitUDP(length int) int {
	return min(max(minSize, int(q.size)), maxSize, amplification*length)
}

// A reply is a message that is being written.
type reply struct {
	b     []byte // memory of the caller; it begins with the message
	q     *query
	limit int // of the message, without the OPT record
	full  bool
	rcode dnsmessage.RCode
	flags uint16

	counts [3]uint16 // of answers, authorities and additional records
}

// begin writes what every reply begins with. The message will be no longer than
// limit, which is at least headerSize.
func (r *reply) begin(b []byte, q *query, limit int) {
	*r = reply{b: append(append(b, q.header...), q.question...), q: q, limit: limit, rcode: q.rcode}
	if q.edns {
		r.limit -= optSize
	}
}

// end finishes the message. If it has become longer than it may, it is left without
// records, and the client asks again over TCP.
func (r *reply) end() []byte {
	questions := uint16(0)
	if len(r.q.question) > 0 {
		questions = 1
	}
	if r.full {
		r.b, r.flags, r.counts = r.b[:headerSize+len(r.q.question)], r.flags|bitTC, [3]uint16{}
	}
	if r.q.edns {
		r.counts[2]++
		// RFC 6891, section 6.1.3: the upper bits of the code, version 0, flags.
		extended := uint32(r.rcode>>4) << 24
		if r.q.do {
			extended |= 1 << 15
		}
		r.b = append(r.b, 0)
		r.b = binary.BigEndian.AppendUint16(r.b, uint16(dnsmessage.TypeOPT))
		r.b = binary.BigEndian.AppendUint16(r.b, maxSize)
		r.b = binary.BigEndian.AppendUint32(r.b, extended)
		r.b = append(r.b, 0, 0)
	}
	asked := binary.BigEndian.Uint16(r.b[2:])
	binary.BigEndian.PutUint16(r.b[2:], bitQR|asked&(maskOpcode|bitRD)|r.flags|uint16(r.rcode&15))
	binary.BigEndian.PutUint16(r.b[4:], questions)
	for i, n := range r.counts {
		binary.BigEndian.PutUint16(r.b[6+2*i:], n)
	}
	return r.b
}

// The sections of a message that records are in.
const (
	answer = iota
	authority
	additional
)

// record appends the beginning of a record whose name is the question's from the
// given byte on, and returns where its data begins; done ends it.
func (r *reply) record(at int, kind dnsmessage.Type, ttl time.Duration) (data int) {
	r.b = appendPointer(r.b, at)
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(kind))
	r.b = binary.BigEndian.AppendUint16(r.b, uint16(dnsmessage.ClassINET))
	r.b = binary.BigEndian.AppendUint32(r.b, uint32(ttl/time.Second))
	r.b = append(r.b, 0, 0) // the length of its data
	return len(r.b)
}

// done ends a record. An additional one that does not fit is left out; without any
// other there is no answer (RFC 2181, section 9).
func (r *reply) done(section, data int) {
	binary.BigEndian.PutUint16(r.b[data-2:], uint16(len(r.b)-data))
	switch {
	case len(r.b) <= r.limit:
		r.counts[section]++
	case section == additional:
		r.b = r.b[:data-12] // a record begins with twelve bytes, as its name is a pointer
	default:
		r.full = true
	}
}

// appendPointer appends the name that is the question's from the given byte on.
func appendPointer(b []byte, at int) []byte {
	return binary.BigEndian.AppendUint16(b, 0xc000|uint16(headerSize+at))
}

func (r *reply) address(section, at int, ip netip.Addr, ttl time.Duration) {
	var data int
	if ip.Is4() {
		data = r.record(at, dnsmessage.TypeA, ttl)
		a := ip.As4()
		r.b = append(r.b, a[:]...)
	} else {
		data = r.record(at, dnsmessage.TypeAAAA, ttl)
		a := ip.As16()
		r.b = append(r.b, a[:]...)
	}
	r.done(section, data)
}

func addressType(ip netip.Addr) dnsmessage.Type {
	if ip.Is4() {
		return dnsmessage.TypeA
	}
	return dnsmessage.TypeAAAA
}

// any answers a question for whatever there is as RFC 8482, section 4.2, does.
func (r *reply) any(ttl time.Duration) {
	data := r.record(0, dnsmessage.TypeHINFO, ttl)
	r.b = append(r.b, "\x07RFC8482\x00"...)
	r.done(answer, data)
}

// none says that there is nothing: with the code given no such name, or with success
// nothing of the type.
func (r *reply) none(z *zone, domain int, rcode dnsmessage.RCode) {
	r.rcode = rcode
	r.soa(z, authority, domain, negativeTTL)
}

func (r *reply) soa(z *zone, section, domain int, ttl time.Duration) {
	data := r.record(domain, dnsmessage.TypeSOA, ttl)
	r.nameServer(z, 0, domain)
	r.b = append(r.b, "\x0ahostmaster"...)
	r.b = appendPointer(r.b, domain)
	// Serial, refresh, retry and expire are for those who copy zones, and this one
	// cannot be copied.
	for _, n := range [...]uint32{z.serial, 3600, 600, 86400, uint32(negativeTTL / time.Second)} {
		r.b = binary.BigEndian.AppendUint32(r.b, n)
	}
	r.done(section, data)
}

// nameServer appends the name of a name server.
func (r *reply) nameServer(z *zone, i, domain int) {
	if len(z.nameServers) == 0 {
		r.b = appendPointer(r.b, domain)
		return
	}
	r.b = append(r.b, z.nameServers[i]...)
}

// apex answers for the domain itself; local is the address that was asked.
func (r *reply) apex(z *zone, domain int, local netip.Addr) {
	ownName := len(z.nameServers) == 0 && local.IsValid()
	switch kind := r.q.kind; {
	case kind == dnsmessage.TypeSOA:
		r.soa(z, answer, domain, apexTTL)
	case kind == dnsmessage.TypeNS:
		for i := range max(1, len(z.nameServers)) {
			data := r.record(domain, kind, apexTTL)
			r.nameServer(z, i, domain)
			r.done(answer, data)
		}
		if ownName {
			r.address(additional, domain, local, apexTTL)
		}
	case kind == dnsmessage.TypeALL:
		r.any(apexTTL)
	case ownName && kind == addressType(local):
		r.address(answer, domain, local, apexTTL)
	default:
		r.none(z, domain, dnsmessage.RCodeSuccess)
	}
}

// room answers for a room; left is how long its lease still runs at least.
func (r *reply) room(z *zone, l *location, reg *foyer.Registration, left time.Duration) {
	ttl := min(roomTTL, max(0, left))
	host, ip, port := splitAddress(reg.Address)
	kind := r.q.kind
	switch {
	case l.place == atUDP:
		r.none(z, l.domain, dnsmessage.RCodeSuccess)
	case kind == dnsmessage.TypeALL:
		r.any(ttl)
	case kind == dnsmessage.TypeSRV:
		data := r.record(0, kind, ttl)
		r.b = append(r.b, 0, 0, 0, 0) // priority and weight
		r.b = binary.BigEndian.AppendUint16(r.b, port)
		if ip.IsValid() {
			// In full: RFC 2782 allows no compression here.
			r.b = append(r.b, r.q.name[l.target:]...)
			r.done(answer, data)
			r.address(additional, l.target, ip, ttl)
			return
		}
		r.b = appendName(r.b, host)
		r.done(answer, data)
	case l.place == atSRV:
		r.none(z, l.domain, dnsmessage.RCodeSuccess)
	case kind == dnsmessage.TypeTXT:
		data := r.record(0, kind, ttl)
		r.texts(reg)
		r.done(answer, data)
	case ip.IsValid() && kind == addressType(ip):
		r.address(answer, 0, ip, ttl)
	default:
		r.none(z, l.domain, dnsmessage.RCodeSuccess)
	}
}

// texts appends the strings of a room's TXT record: its address, and pairs as in
// RFC 6763, section 6.3.
func (r *reply) texts(reg *foyer.Registration) {
	r.text("", string(reg.Address))
	since := r.beginText("since=")
	r.b = reg.RegisteredAt.UTC().AppendFormat(r.b, time.RFC3339)
	r.b[since] = byte(len(r.b) - since - 1)
	if reg.Exits == "" {
		return
	}
	for d, to := range reg.Exits.All() {
		r.text(d.String()+"=", string(to))
	}
}

// maxText is the longest string in a TXT record (RFC 1035, section 3.3).
const maxText = 255

// text appends a string, unless it is too long, as only an exit's can be.
func (r *reply) text(key, value string) {
	if len(key)+len(value) > maxText {
		return
	}
	at := r.beginText(key)
	r.b = append(r.b, value...)
	r.b[at] = byte(len(r.b) - at - 1)
}

// beginText appends the beginning of a string and returns where its length belongs.
func (r *reply) beginText(key string) int {
	r.b = append(r.b, 0)
	r.b = append(r.b, key...)
	return len(r.b) - len(key) - 1
}

// splitAddress returns the host of an address, as an IP address too if it is one, and
// the port.
func splitAddress(a foyer.Address) (host string, ip netip.Addr, port uint16) {
	hostport := a.HostPort()
	colon := strings.LastIndexByte(hostport, ':')
	host = hostport[:max(0, colon)]
	n, _ := strconv.ParseUint(hostport[colon+1:], 10, 16) // an Address has a port
	if strings.HasPrefix(host, "[") {
		ip, _ = netip.ParseAddr(strings.Trim(host, "[]"))
	} else if last := host[strings.LastIndexByte(host, '.')+1:]; last != "" && isDigit(last[0]) && isDigit(last[len(last)-1]) {
		ip, _ = netip.ParseAddr(host)
	}
	return host, ip, uint16(n)
}

// appendName appends a host's name, as it is in an Address, in wire format.
func appendName(b []byte, host string) []byte {
	for host != "" {
		label, rest, _ := strings.Cut(host, ".")
		b = append(append(b, byte(len(label))), label...)
		host = rest
	}
	return append(b, 0)
}
